package metrics

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protodelim"
)

// Process adds what is known of this process: the Go runtime, with its pauses, and what the
// system gives it.
func Process(r prometheus.Registerer) {
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// Of are the families of a process that runs a job, or a part of it. All series get the
// labels.
func Of(j *Job, labels ...Label) *prometheus.Registry {
	all := prometheus.NewRegistry()
	have := prometheus.Labels{}
	for _, l := range labels {
		have[l.Name] = label(l.Value)
	}
	r := prometheus.WrapRegistererWith(have, all)
	Process(r)
	r.MustRegister(j)
	return all
}

// Bounds of what an executor hands over.
const (
	maxPacked   = 200 << 10 // as text; the agent reads events of 256 KiB
	maxUnpacked = 8 << 20
	maxSeries   = 20_000
)

// Pack is one look at all families, as text that fits into an answer of an executor.
func Pack(g prometheus.Gatherer) (string, error) {
	families, err := g.Gather()
	if err != nil {
		return "", fmt.Errorf("metrics: reading them: %w", err)
	}
	var b strings.Builder
	if err := encode(&b, families, expfmt.NewFormat(expfmt.TypeProtoDelim)); err != nil {
		return "", err
	}
	text := base64.StdEncoding.EncodeToString(s2.Encode(nil, []byte(b.String())))
	if len(text) > maxPacked {
		return "", fmt.Errorf("metrics: %d families take %d bytes, and an agent takes %d: the job has too many operators", len(families), len(text), maxPacked)
	}
	return text, nil
}

func encode(w io.Writer, families []*dto.MetricFamily, f expfmt.Format) error {
	e := expfmt.NewEncoder(w, f)
	for _, m := range families {
		if err := e.Encode(m); err != nil {
			return fmt.Errorf("metrics: writing %s: %w", m.GetName(), err)
		}
	}
	if c, ok := e.(expfmt.Closer); ok {
		return c.Close()
	}
	return nil
}

// Label is a name and its value.
type Label struct{ Name, Value string }

// Unpack reads what Pack has made, elsewhere. All series get the labels, in place of those
// that they have under the same names.
func Unpack(text string, labels ...Label) ([]*dto.MetricFamily, error) {
	packed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("metrics: what was handed over is no text of them: %w", err)
	}
	switch n, err := s2.DecodedLen(packed); {
	case err != nil:
		return nil, fmt.Errorf("metrics: what was handed over does not say its size: %w", err)
	case n > maxUnpacked:
		return nil, fmt.Errorf("metrics: what was handed over takes %d bytes, and at most %d are read", n, maxUnpacked)
	}
	plain, err := s2.Decode(nil, packed)
	if err != nil {
		return nil, fmt.Errorf("metrics: what was handed over is damaged: %w", err)
	}
	// The decoder of package expfmt makes room for whatever size a family says it has.
	each, from := protodelim.UnmarshalOptions{MaxSize: maxUnpacked}, bytes.NewReader(plain)
	var all []*dto.MetricFamily
	series := 0
	for {
		m := new(dto.MetricFamily)
		if err := each.UnmarshalFrom(from, m); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("metrics: family %d of what was handed over: %w", len(all)+1, err)
		}
		if series += len(m.Metric); series > maxSeries {
			return nil, fmt.Errorf("metrics: more than %d series were handed over", maxSeries)
		}
		if !known(m.GetName()) {
			return nil, fmt.Errorf("metrics: a family %.100q was handed over: its name must begin with weir_, go_ or process_", m.GetName())
		}
		for _, x := range m.Metric {
			if !sound(x.GetHistogram()) {
				return nil, fmt.Errorf("metrics: the family %s that was handed over has a histogram whose buckets do not add up", m.GetName())
			}
			x.Label = relabel(x.Label, labels)
		}
		all = append(all, m)
	}
}

// known reports whether a family may come from an executor.
func known(name string) bool {
	return strings.HasPrefix(name, "weir_") || strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_")
}

// sound reports whether a histogram's buckets go up, and hold no more than it has counted: readers
// subtract one from the next. Counts that are no whole numbers are none of ours.
func sound(h *dto.Histogram) bool {
	if h.GetSampleCountFloat() != 0 {
		return false
	}
	var below *dto.Bucket
	for _, b := range h.GetBucket() {
		if b.GetCumulativeCountFloat() != 0 {
			return false
		}
		if below != nil && !(b.GetUpperBound() > below.GetUpperBound()) || b.GetCumulativeCount() < below.GetCumulativeCount() || b.GetCumulativeCount() > h.GetSampleCount() {
			return false
		}
		below = b
	}
	return true
}

func relabel(have []*dto.LabelPair, labels []Label) []*dto.LabelPair {
	have = slices.DeleteFunc(have, func(p *dto.LabelPair) bool {
		return p == nil || slices.ContainsFunc(labels, func(l Label) bool { return l.Name == p.GetName() })
	})
	for _, l := range labels {
		have = append(have, &dto.LabelPair{Name: &l.Name, Value: &l.Value})
	}
	slices.SortFunc(have, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return have
}

// Unpacked are families as others gather them.
func Unpacked(families []*dto.MetricFamily) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
}

// ContentType is that of what Write makes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Write writes all families of gatherers as Prometheus reads them, each family once. What does
// not fit together is left out, and told in the error; the rest is written.
func Write(w io.Writer, of ...prometheus.Gatherer) error {
	families, err := prometheus.Gatherers(of).Gather()
	wrong := []error{err}
	var b bytes.Buffer
	for i := range families {
		b.Reset() // a family that is half written would spoil what follows
		if err := encode(&b, families[i:i+1], expfmt.NewFormat(expfmt.TypeTextPlain)); err != nil {
			wrong = append(wrong, err)
			continue
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
	}
	return errors.Join(wrong...)
}
