package gossip

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxSeeds bounds the addresses that seeds lead to.
	maxSeeds = 64
	// maxSeedFile bounds a file of seeds, in bytes.
	maxSeedFile = 64 << 10
)

// Resolver is what is needed of net.Resolver.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// resolveSeeds finds the addresses that seeds lead to: all of each name, each once. With an
// error about some it returns the others.
//
//	10.0.0.1:7401, [::1]:7401, host:7401   an address, or all addresses of a name
//	10.0.0.1, host                         the same, at the default port
//	srv:_weir._tcp.example.org             hosts and ports by SRV records
//	file:/etc/weir/seeds                   lines of the above, but for files; # begins a comment
func resolveSeeds(ctx context.Context, seeds []string, port int, r Resolver) (list []string, err error) {
	var errs []error
	add := func(found []string, err error) {
		if err != nil {
			errs = append(errs, err)
		}
		for _, a := range found {
			if !slices.Contains(list, a) && len(list) < maxSeeds {
				list = append(list, a)
			}
		}
	}
	for _, seed := range seeds {
		name, isFile := strings.CutPrefix(seed, "file:")
		if !isFile {
			add(resolveSeed(ctx, seed, port, r))
			continue
		}
		lines, err := readSeeds(name)
		add(nil, err)
		for _, line := range lines {
			add(resolveSeed(ctx, line, port, r))
		}
	}
	return list, errors.Join(errs...)
}

// readSeeds reads a file. It is read anew each time: its owner may change it.
func readSeeds(name string) (lines []string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("gossip: seeds: %w", err)
	}
	defer f.Close()
	in := bufio.NewScanner(io.LimitReader(f, maxSeedFile))
	for in.Scan() {
		line, _, _ := strings.Cut(in.Text(), "#")
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "file:") {
			return nil, fmt.Errorf("gossip: seeds: %s names another file, %.100q: put its lines here", name, line)
		}
		if line != "" && len(lines) < maxSeeds {
			lines = append(lines, line)
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("gossip: seeds: read %s: %w", name, err)
	}
	return lines, nil
}

func resolveSeed(ctx context.Context, seed string, port int, r Resolver) (list []string, err error) {
	if record, ok := strings.CutPrefix(seed, "srv:"); ok {
		_, hosts, err := r.LookupSRV(ctx, "", "", record)
		if err != nil {
			return nil, fmt.Errorf("gossip: seed %s: %w", seed, err)
		}
		var errs []error
		for _, h := range hosts[:min(len(hosts), maxSeeds)] {
			found, err := resolveHost(ctx, strings.TrimSuffix(h.Target, "."), int(h.Port), r)
			list = append(list, found...)
			errs = append(errs, err)
		}
		return list, errors.Join(errs...)
	}
	host, text, err := net.SplitHostPort(seed)
	if err != nil {
		host = strings.Trim(seed, "[]")
	} else if port, err = strconv.Atoi(text); err != nil || port < 1 || port > 65535 {
		return nil, fmt.Errorf("gossip: seed %.200q: %.20q is no port", seed, text)
	}
	if host == "" || strings.ContainsAny(host, "/ \t") {
		return nil, fmt.Errorf("gossip: seed %.200q is neither an address, nor a name, nor srv: or file: and what belongs to it", seed)
	}
	return resolveHost(ctx, host, port, r)
}

func resolveHost(ctx context.Context, host string, port int, r Resolver) (list []string, err error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []string{netip.AddrPortFrom(ip.Unmap(), uint16(port)).String()}, nil
	}
	ips, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("gossip: seed %s: %w", host, err)
	}
	for _, ip := range ips {
		list = append(list, netip.AddrPortFrom(ip.Unmap(), uint16(port)).String())
	}
	return list, nil
}
