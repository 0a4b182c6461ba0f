package api

// What the HTTP API tells administrators about the cluster itself.

// AuditEntry is a request that changed something, or was refused for who sent it, as a server
// has written it down.
type AuditEntry struct {
	Time   int64  `json:"time"`   // in microseconds since 1970
	Server string `json:"server"` // the name of the one that wrote it
	// Request counts the server's.
	Request uint64 `json:"request"`
	// What is the operationId of the request.
	What string `json:"what"`
	// About is the job, agent or program; Detail what was wanted of it.
	About  string `json:"about,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Who is the name of the token, Role what it may; empty for one that is not known.
	Who  string `json:"who,omitempty"`
	Role string `json:"role,omitempty"`
	// From is the address that it came from, Certificate the name in its certificate.
	From        string `json:"from"`
	Certificate string `json:"certificate,omitempty"`
	// ForwardedFor is the address that another server has told, if the request came from one;
	// ForwardedTo is the server that it was sent on to.
	ForwardedFor string `json:"forwarded_for,omitempty"`
	ForwardedTo  string `json:"forwarded_to,omitempty"`
	// Result is ok, or the code of an error; Error is its message.
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
}

// AuditList is the newest entries of all servers, oldest first.
type AuditList struct {
	Items []AuditEntry `json:"items"`
	// Missing are the names of servers that could not be asked.
	Missing []string `json:"missing,omitempty"`
}

// GossipKey is a key that gossip is sealed with. Its name is the beginning of its hash: the key
// itself is never told.
type GossipKey struct {
	Name string `json:"name"`
	// Agents have it and open what is sealed with it; Users seal with it.
	Agents []string `json:"agents"`
	Users  []string `json:"users"`
}

// GossipKeyList is the keys of all agents that are here.
type GossipKeyList struct {
	Items []GossipKey `json:"items"`
	// Problems are agents that could not be asked, or could not do it, by name.
	Problems []AgentProblem `json:"problems,omitempty"`
}

// AgentProblem is what is wrong with an agent.
type AgentProblem struct {
	Agent string `json:"agent"`
	Error string `json:"error"`
}

// GossipKeyRequest says which key. To add one takes the key itself, 32 bytes in base64; to use
// or remove one its name.
type GossipKeyRequest struct {
	Name string `json:"name,omitempty"`
	Key  []byte `json:"key,omitempty"`
}
