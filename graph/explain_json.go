package graph

import (
	"encoding/json"
	"fmt"
	"io"
)

// ExplainJSON writes the plan for programs. The names of the fields are stable;
// docs/format/graph.md lists them. Lists are never null.
func ExplainJSON(w io.Writer, p *Plan) error {
	out := jsonPlan{
		Job: p.Graph.Name, MaxParallelism: p.MaxParallelism, Mode: p.Mode.String(), Tasks: p.Tasks(),
		Chains: []jsonChain{}, Exchanges: []jsonExchange{}, Regions: [][]string{},
	}
	for i := range p.Chains {
		c := &p.Chains[i]
		jc := jsonChain{ID: string(c.ID), Parallelism: c.Parallelism, Region: c.Region,
			Operators: []jsonOperator{}, Links: []jsonLink{}}
		for _, o := range c.Operators {
			jc.Operators = append(jc.Operators, newJSONOperator(o))
		}
		for _, l := range c.Links {
			jc.Links = append(jc.Links, jsonLink{string(l.From), int(l.Output), string(l.To), int(l.Port)})
		}
		out.Chains = append(out.Chains, jc)
		for _, in := range c.Inputs {
			out.Exchanges = append(out.Exchanges, jsonExchange{
				Edge: in.Edge.String(), Kind: in.Exchange.Kind.String(), Key: in.Exchange.Key,
				FromChain: string(in.FromChain), From: string(in.From), Output: int(in.Output),
				ToChain: string(c.ID), To: string(in.Edge.To), Port: int(in.Port), Blocking: in.Blocking,
			})
		}
	}
	for _, r := range p.Regions {
		ids := []string{}
		for _, id := range r {
			ids = append(ids, string(id))
		}
		out.Regions = append(out.Regions, ids)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(&out); err != nil {
		return fmt.Errorf("graph: explain %q as JSON: %w", p.Graph.Name, err)
	}
	return nil
}

type jsonPlan struct {
	Job            string         `json:"job"`
	MaxParallelism int            `json:"max_parallelism"`
	Mode           string         `json:"mode"`
	Tasks          int            `json:"tasks"`
	Chains         []jsonChain    `json:"chains"`
	Exchanges      []jsonExchange `json:"exchanges"`
	Regions        [][]string     `json:"regions"`
}

type jsonChain struct {
	ID          string         `json:"id"`
	Parallelism int            `json:"parallelism"`
	Region      int            `json:"region"`
	Operators   []jsonOperator `json:"operators"`
	Links       []jsonLink     `json:"links"`
}

type jsonOperator struct {
	ID        string       `json:"id"`
	UserID    bool         `json:"user_id"`
	Name      string       `json:"name"`
	Kind      string       `json:"kind"`
	NoChain   bool         `json:"no_chain,omitempty"`
	Unbounded bool         `json:"unbounded,omitempty"`
	Guarantee string       `json:"guarantee,omitempty"`
	Inputs    []jsonPort   `json:"inputs"`
	Outputs   []jsonOutlet `json:"outputs"`
	Attrs     []jsonAttr   `json:"attrs"`
	States    []jsonState  `json:"states"`
}

type jsonPort struct {
	Name string `json:"name,omitempty"`
	Type string `json:"type,omitempty"`
}

type jsonOutlet jsonPort

type jsonAttr struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type jsonState struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Key   string `json:"key,omitempty"`
	Value string `json:"value,omitempty"`
}

type jsonLink struct {
	From   string `json:"from"`
	Output int    `json:"output"`
	To     string `json:"to"`
	Port   int    `json:"port"`
}

type jsonExchange struct {
	Edge      string `json:"edge"`
	Kind      string `json:"kind"`
	Key       string `json:"key,omitempty"`
	FromChain string `json:"from_chain"`
	From      string `json:"from"`
	Output    int    `json:"output"`
	ToChain   string `json:"to_chain"`
	To        string `json:"to"`
	Port      int    `json:"port"`
	Blocking  bool   `json:"blocking,omitempty"`
}

func newJSONOperator(o *Operator) jsonOperator {
	j := jsonOperator{
		ID: string(o.ID), UserID: o.UserID, Name: o.Name, Kind: o.Kind, NoChain: o.NoChain,
		Unbounded: o.Unbounded, Guarantee: o.Guarantee,
		Inputs: []jsonPort{}, Outputs: []jsonOutlet{}, Attrs: []jsonAttr{}, States: []jsonState{},
	}
	for _, in := range o.Inputs {
		j.Inputs = append(j.Inputs, jsonPort{in.Name, in.Type})
	}
	for _, out := range o.Outputs {
		j.Outputs = append(j.Outputs, jsonOutlet{out.Name, out.Type})
	}
	for _, a := range o.Attrs {
		j.Attrs = append(j.Attrs, jsonAttr(a))
	}
	for _, s := range o.States {
		j.States = append(j.States, jsonState(s))
	}
	return j
}
