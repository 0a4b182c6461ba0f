// Package config is what an agent is told: by a YAML file, the environment and flags.
//
// Its words: a key is a place in the file, such as "tls.ca"; the same key is the variable
// WEIR_AGENT_TLS_CA and the flag --tls-ca. The source of a value is where it came from. A flag
// goes before the environment, that before the file, and that before the default.
//
// Invariants:
//
//  1. What is not known is refused, with its line and the key that was meant, perhaps; so are
//     variables that begin with WEIR_AGENT_. All mistakes are told at once.
//  2. Sizes and times have units: "512MB", "3s".
//  3. Check refuses what would let strangers in, before anything listens.
//
// Variables begin with WEIR_AGENT_ and not with WEIR_ alone because programs that an agent
// starts read WEIR_ variables of their own, such as WEIR_MEMORY.
//
// Nothing here starts goroutines; a [Config] is plain data.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/cluster/certs"
	"github.com/weirflow/weir/internal/obs/traces"
	"github.com/weirflow/weir/web"
)

// Config is an agent's.
type Config struct {
	Name    string            `yaml:"name" about:"how people call this agent; the host's name if it is not given"`
	DataDir string            `yaml:"data_dir" about:"directory for all that is kept: raft, programs, logs, partitions"`
	Zone    string            `yaml:"zone" about:"where the host is, for placement"`
	Tags    map[string]string `yaml:"tags" about:"words for placement and people"`

	Listen    Listen   `yaml:"listen"`
	Advertise string   `yaml:"advertise" about:"host that others reach this agent by; needed when it listens on all addresses"`
	Join      []string `yaml:"join" about:"where others are: host:port, a DNS name with a port, or file:PATH with one on each line"`
	Server    Server   `yaml:"server"`

	Slots  int  `yaml:"slots" about:"tasks of each chain that may run here; the number of CPUs if it is not given"`
	Memory Size `yaml:"memory" about:"for all executors together; 0 is no limit"`

	TLS        TLS    `yaml:"tls"`
	Gossip     Gossip `yaml:"gossip"`
	TokenFile  string `yaml:"token_file" about:"hashed tokens for the HTTP API; see weir token"`
	SecretsDir string `yaml:"secrets_dir" about:"directory with a file for each secret that jobs may name"`

	Locations []string `yaml:"locations" about:"directories and URLs below which jobs may keep checkpoints and savepoints; anywhere if there is none"`

	Log       Log      `yaml:"log"`
	Traces    Traces   `yaml:"traces"`
	Limits    Limits   `yaml:"limits"`
	Lease     Duration `yaml:"lease" about:"how long an agent goes on without the leader's word"`
	Heartbeat Duration `yaml:"heartbeat" about:"how often it tells the leader that it is there"`
}

// Listen is where an agent listens, as host:port.
type Listen struct {
	HTTP      string `yaml:"http" about:"host:port of the HTTP API"`
	Gossip    string `yaml:"gossip" about:"host:port for members to find each other, TCP and UDP"`
	RPC       string `yaml:"rpc" about:"host:port for agents and servers"`
	Executors string `yaml:"executors" about:"host that executors listen on, at ports that the system chooses"`
}

// Server is about agents that form the control plane.
type Server struct {
	Enabled         bool `yaml:"enabled" about:"take part in raft"`
	BootstrapExpect int  `yaml:"bootstrap_expect" about:"how many servers there are when the cluster is made: 1, 3 or 5"`
}

// TLS is the files of the agent's identity; see weir tls.
type TLS struct {
	CA   string `yaml:"ca" about:"the cluster's CA"`
	Cert string `yaml:"cert" about:"this agent's certificate, with the role server or agent"`
	Key  string `yaml:"key" about:"its key"`
}

// Files are those of the agent.
func (t TLS) Files() certs.Files { return certs.Files{CA: t.CA, Cert: t.Cert, Key: t.Key} }

// Gossip is about finding each other.
type Gossip struct {
	KeyFile string `yaml:"key_file" about:"one or two base64 keys of 32 bytes, one on each line, the first for sending"`
}

// Log is about the agent's own log.
type Log struct {
	Level  string `yaml:"level" about:"debug, info, warn or error"`
	Format string `yaml:"format" about:"text or json"`
}

// Traces is about who is told what took how long.
type Traces struct {
	Endpoint string `yaml:"endpoint" about:"URL of an OpenTelemetry collector that takes OTLP over HTTP, for this agent and its executors"`
}

// Limits bound what others can make the agent keep or do.
type Limits struct {
	Artifact          Size `yaml:"artifact" about:"the largest program"`
	Artifacts         Size `yaml:"artifacts" about:"all programs together; those that no job needs go first"`
	ExecutorLog       Size `yaml:"executor_log" about:"the log of one executor, older lines go"`
	Audit             Size `yaml:"audit" about:"what a server has written down of requests, older lines go"`
	Spill             Size `yaml:"spill" about:"partitions on disk; 0 is no limit"`
	Events            int  `yaml:"events" about:"events that are kept of each job"`
	RequestsPerSecond int  `yaml:"requests_per_second" about:"HTTP requests of one token"`
}

// Default is what holds where nothing is given.
func Default() Config {
	name, err := os.Hostname()
	if err != nil || !nameForm.MatchString(name) {
		name = "agent"
	}
	return Config{
		Name:      name,
		DataDir:   "weir-data",
		Listen:    Listen{HTTP: "127.0.0.1:7470", Gossip: "127.0.0.1:7471", RPC: "127.0.0.1:7472", Executors: "127.0.0.1"},
		Slots:     runtime.GOMAXPROCS(0),
		Log:       Log{Level: "info", Format: "text"},
		Limits:    Limits{Artifact: 1 << 30, Artifacts: 10 << 30, ExecutorLog: 64 << 20, Audit: 16 << 20, Events: 1000, RequestsPerSecond: 100},
		Lease:     Duration(3 * time.Second),
		Heartbeat: Duration(150 * time.Millisecond),
	}
}

// Names go into the cluster's state, and to the HTTP API's paths.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Check says all that is wrong, one line each; each names the key.
func (c *Config) Check() error {
	var all []error
	wrong := func(key, format string, args ...any) { all = append(all, fmt.Errorf(key+": "+format, args...)) }
	if !nameForm.MatchString(c.Name) {
		wrong("name", "%q must be of 1 to 128 letters, digits, dashes, dots and underscores, and begin with a letter or digit", c.Name)
	}
	if c.Zone != "" && !nameForm.MatchString(c.Zone) {
		wrong("zone", "%q must be of letters, digits, dashes, dots and underscores", c.Zone)
	}
	if c.DataDir == "" {
		wrong("data_dir", "name a directory")
	}
	if c.Slots < 0 || c.Slots > 4096 {
		wrong("slots", "%d must be from 0 to 4096", c.Slots)
	}
	if n := c.Server.BootstrapExpect; c.Server.Enabled && n != 0 && n != 1 && n != 3 && n != 5 {
		wrong("server.bootstrap_expect", "%d must be 1, 3 or 5: an even number of servers survives no more failures than one less", n)
	}
	if !c.Server.Enabled && c.Server.BootstrapExpect != 0 {
		wrong("server.bootstrap_expect", "this agent is no server: set server.enabled")
	}
	if c.Server.BootstrapExpect != 1 && len(c.Join) == 0 {
		wrong("join", "name where others are; or, for a cluster with one server, server.enabled and server.bootstrap_expect: 1")
	}
	if slices.Contains(c.Join, "") {
		wrong("join", "an entry is empty")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		wrong("log.level", "%q must be debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		wrong("log.format", "%q must be text or json", c.Log.Format)
	}
	if h := time.Duration(c.Heartbeat); h < 10*time.Millisecond || 4*h > time.Duration(c.Lease) {
		wrong("heartbeat", "%s must be at least 10ms and at most a quarter of lease, which is %s", c.Heartbeat, c.Lease)
	}
	for key, n := range map[string]int64{"limits.artifact": int64(c.Limits.Artifact), "limits.artifacts": int64(c.Limits.Artifacts),
		"limits.executor_log": int64(c.Limits.ExecutorLog), "limits.audit": int64(c.Limits.Audit), "limits.events": int64(c.Limits.Events), "limits.requests_per_second": int64(c.Limits.RequestsPerSecond)} {
		if n < 1 {
			wrong(key, "it must be more than 0")
		}
	}
	if c.Memory < 0 || c.Limits.Spill < 0 {
		wrong("memory", "it and limits.spill can't be negative")
	}
	if err := traces.CheckEndpoint(c.Traces.Endpoint); err != nil {
		wrong("traces.endpoint", "%w", err)
	}
	c.checkTrust(wrong)
	slices.SortFunc(all, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(all...)
}

// checkTrust looks at who could reach the agent.
func (c *Config) checkTrust(wrong func(key, format string, args ...any)) {
	if err := c.TLS.Files().Check(); err != nil {
		wrong("tls", "%w", err)
	}
	tls := c.TLS.Files().Given()
	for key, l := range map[string]web.Listen{
		"listen.http":      {Address: c.Listen.HTTP, TLS: tls, Tokens: c.TokenFile != ""},
		"listen.rpc":       {Address: c.Listen.RPC, TLS: tls, NoTokens: true},
		"listen.executors": {Address: net.JoinHostPort(c.Listen.Executors, "0"), TLS: tls, NoTokens: true},
	} {
		if err := web.Exposure(l); err != nil {
			wrong(key, "%w", err)
		}
	}
	if err := web.Exposure(web.Listen{Address: c.Listen.Gossip}); err != nil && c.Gossip.KeyFile == "" {
		if _, _, split := net.SplitHostPort(c.Listen.Gossip); split != nil {
			wrong("listen.gossip", "%q is not host:port", c.Listen.Gossip)
		} else {
			wrong("gossip.key_file", "gossip on %s without a key would let strangers join: listen on 127.0.0.1, or make a key with openssl rand -base64 32 and name its file", c.Listen.Gossip)
		}
	}
	for _, a := range []string{c.Listen.HTTP, c.Listen.Gossip, c.Listen.RPC, net.JoinHostPort(c.Listen.Executors, "0")} {
		if host, _, err := net.SplitHostPort(a); err == nil && c.Advertise == "" {
			if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
				wrong("advertise", "this agent listens on all addresses (%s): say by which host others reach it", a)
				break
			}
		}
	}
}
