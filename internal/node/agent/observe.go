package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirflow/weir/api"
	"github.com/weirflow/weir/internal/obs/metrics"
	"github.com/weirflow/weir/internal/obs/profile"
	"github.com/weirflow/weir/web"
)

// observer shows what goes on in the agent. It implements web.Observer.
type observer struct{ a *Agent }

var _ web.Observer = observer{}

// Health says whether the agent can do its work: one that is no server can, while it has a lease.
func (o observer) Health() api.Health {
	if o.a.raft != nil {
		return (&backend{o.a}).Health()
	}
	h := api.Health{Status: "ok", Version: o.a.o.Version}
	if !o.a.link.holds() {
		h.Status = "no_leader"
	}
	return h
}

// Kinds are the profiles that there are.
func (observer) Kinds() []string { return profile.Kinds }

// CheckProfile refuses one that there is not.
func (observer) CheckProfile(kind string, over time.Duration) error { return profile.Check(kind, over) }

// Profile writes a profile of the agent.
func (observer) Profile(ctx context.Context, w io.Writer, kind string, over time.Duration) error {
	_, err := profile.Write(ctx, w, kind, over)
	if err != nil {
		return api.Errorf(api.CodeConflict, "%v", err)
	}
	return nil
}

// profileOf has an executor of this agent take a profile into its directory, and opens it.
func (a *Agent) profileOf(ctx context.Context, id api.AllocID, kind string, over time.Duration) (io.ReadCloser, error) {
	if err := profile.Check(kind, over); err != nil {
		return nil, err
	}
	number, _, err := a.ask(ctx, id, api.AskProfile(kind, over), over+askTimeout)
	if err != nil {
		return nil, err
	}
	return a.executors.Fetch(id, api.ProfileFile+strconv.FormatUint(number, 10), profile.Most)
}

// scrapes are what the agent shows to Prometheus. Executors are asked at most once in a
// second, however many ask the agent.
type scrapes struct {
	own *prometheus.Registry
	measures

	mu struct {
		sync.Mutex
		at   time.Time
		text []byte
	}
}

const (
	scrapeEvery = time.Second
	// scrapeTimeout is how long an executor may take; Prometheus gives up after 10 s.
	scrapeTimeout = 3 * time.Second
)

// Metrics writes the families of the agent and of all its executors.
func (o observer) Metrics(ctx context.Context, w io.Writer) error {
	s := o.a.scrapes
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.mu.at) >= scrapeEvery {
		all := append([]prometheus.Gatherer{s.own}, o.a.scrapeExecutors(ctx)...)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var b bytes.Buffer
		if err := metrics.Write(&b, all...); err != nil {
			o.a.log.Debug("some metrics were left out", "err", err)
		}
		s.mu.at, s.mu.text = time.Now(), b.Bytes()
	}
	_, err := w.Write(s.mu.text)
	return err
}

// scrapeExecutors asks all executors that run here, side by side.
func (a *Agent) scrapeExecutors(ctx context.Context) []prometheus.Gatherer {
	jobs := a.executors.Jobs()
	parts := make([]prometheus.Gatherer, 0, len(jobs)+1)
	up := newExecutorUp()
	var mu sync.Mutex
	var all sync.WaitGroup
	for id, job := range jobs {
		all.Go(func() {
			_, text, err := a.ask(ctx, id, api.AskMetrics, scrapeTimeout)
			var of prometheus.Gatherer
			if err == nil {
				families, uerr := metrics.Unpack(text, metrics.Label{Name: "job_name", Value: job}, metrics.Label{Name: "alloc", Value: string(id)})
				of, err = metrics.Unpacked(families), uerr
			}
			answered := 1.0
			if err != nil {
				answered = 0
				if !errors.Is(err, context.Canceled) {
					a.log.Debug("an executor does not tell its figures", "alloc", string(id), "job", job, "err", err)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			up.WithLabelValues(job, string(id)).Set(answered)
			if err == nil {
				parts = append(parts, of)
			}
		})
	}
	all.Wait()
	r := prometheus.NewRegistry()
	r.MustRegister(up)
	return append(parts, r)
}

func newExecutorUp() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_executor_up",
		Help: "1 for an executor of this agent that was asked for its figures and has answered, otherwise 0."}, []string{"job_name", "alloc"})
}
