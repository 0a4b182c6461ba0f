package web

import (
	"fmt"
	"net"
	"strings"
)

// Listen is how a listener is protected.
type Listen struct {
	// Address is host:port; without a host it is all of the machine's.
	Address string
	// TLS says that peers show a certificate of the cluster's CA.
	TLS bool
	// Tokens says that requests carry a token.
	Tokens bool
	// NoTokens says that this listener knows of none: it is for agents and executors.
	NoTokens bool
}

// Exposure refuses a listener that strangers could reach.
func Exposure(l Listen) error {
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return fmt.Errorf("the address %q is not host:port: %w", l.Address, err)
	}
	if loopback(host) || l.TLS && (l.Tokens || l.NoTokens) {
		return nil
	}
	var missing, todo []string
	if !l.TLS {
		missing, todo = append(missing, "TLS"), append(todo, "make certificates with weir tls ca and weir tls cert and name them under tls")
	}
	if !l.Tokens && !l.NoTokens {
		missing, todo = append(missing, "tokens"), append(todo, "make a token with weir token create and name its file as token_file")
	}
	return fmt.Errorf("listening on %s without %s would let strangers run code here: listen on 127.0.0.1, or %s",
		l.Address, strings.Join(missing, " and "), strings.Join(todo, ", and "))
}

// loopback reports whether only the same host reaches it. Names but "localhost" are not
// looked up: what they mean may change.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
