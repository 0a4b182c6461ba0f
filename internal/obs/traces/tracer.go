package traces

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options configure a Tracer.
type Options struct {
	// Endpoint is the collector's URL for OTLP over HTTP, such as http://127.0.0.1:4318. Where it
	// is empty, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT name it; where
	// they do not, there are no traces.
	Endpoint string
	// Service is what spans are of, unless OTEL_SERVICE_NAME says.
	Service string
	// Instance tells processes of one service apart.
	Instance string
	// Lookup is os.LookupEnv.
	Lookup func(string) (string, bool)
	Log    *slog.Logger // default: nothing is logged

	testing struct {
		exporter sdktrace.SpanExporter
	}
}

// CheckEndpoint refuses what is no collector's URL; "" is none.
func CheckEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("%q is no URL of a collector: want http:// or https://, a host and perhaps a path; credentials go into OTEL_EXPORTER_OTLP_HEADERS", endpoint)
	}
	return nil
}

// Tracer sends spans to a collector.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// Open makes a Tracer, nil where no collector is named. It starts a goroutine, which Close ends. It
// does not look whether the collector is there.
func Open(ctx context.Context, o Options) (*Tracer, error) {
	given := func(name string) bool {
		if o.Lookup == nil {
			return false
		}
		v, ok := o.Lookup(name)
		return ok && v != ""
	}
	if given("OTEL_SDK_DISABLED") && o.Endpoint == "" {
		return nil, nil
	}
	exporter := o.testing.exporter
	if exporter == nil {
		if o.Endpoint == "" && !given("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") && !given("OTEL_EXPORTER_OTLP_ENDPOINT") {
			return nil, nil
		}
		if err := CheckEndpoint(o.Endpoint); err != nil {
			return nil, err
		}
		var set []otlptracehttp.Option
		if o.Endpoint != "" {
			at := strings.TrimSuffix(o.Endpoint, "/")
			if u, err := url.Parse(at); err == nil && u.Path == "" {
				at += "/v1/traces"
			}
			set = append(set, otlptracehttp.WithEndpointURL(at))
		}
		var err error
		if exporter, err = otlptracehttp.New(ctx, set...); err != nil {
			return nil, fmt.Errorf("the exporter of traces: %w", err)
		}
	}
	// What the environment says goes before what is given here.
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", cmp.Or(o.Service, "weir")),
		attribute.String("service.instance.id", o.Instance)), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, errors.Join(fmt.Errorf("what traces are of: %w", err), exporter.Shutdown(ctx))
	}
	if log := o.Log; log != nil {
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces are lost", "err", err) }))
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about), sdktrace.WithIDGenerator(ids{}))
	return &Tracer{provider: p, tracer: p.Tracer("github.com/weirflow/weir")}, nil
}

// closeWithin is how long Close waits for a collector.
const closeWithin = 2 * time.Second

// Close sends what is left, and ends what Open has started.
func (t *Tracer) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("sending the last traces: %w", err)
	}
	return nil
}

// Version names a version of a job, whose trace all processes know.
type Version struct {
	Job       string
	Number    uint64
	Submitted int64 // microseconds since 1970
}

// span is the first span of the version's trace.
func (v Version) span() trace.SpanContext {
	sum := sha256.Sum256(fmt.Appendf(nil, "weir %q %d %d", v.Job, v.Number, v.Submitted))
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(sum[:16]), SpanID: trace.SpanID(sum[16:24]),
		TraceFlags: trace.FlagsSampled, Remote: true})
}

// Asked tells of a request that has made a version of a job: submit or restart. It began at
// some time and is over now.
func (t *Tracer) Asked(what string, v Version, began time.Time, by string, parallelism int) {
	if t != nil {
		t.asked(context.WithValue(context.Background(), idKey{}, v.span()), what, v, began, by, parallelism, trace.WithNewRoot())
	}
}

// Rescaled tells of a request for another parallelism of a version.
func (t *Tracer) Rescaled(v Version, began time.Time, by string, parallelism int) {
	if t != nil {
		t.asked(trace.ContextWithRemoteSpanContext(context.Background(), v.span()), "rescale", v, began, by, parallelism)
	}
}

func (t *Tracer) asked(ctx context.Context, what string, v Version, began time.Time, by string, parallelism int, more ...trace.SpanStartOption) {
	_, s := t.tracer.Start(ctx, what, append(more, trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(job(v.Job), attribute.Int64("weir.version", int64(v.Number)), attribute.String("weir.by", by),
			attribute.Int("weir.parallelism", parallelism)))...)
	s.End()
}

func job(name string) attribute.KeyValue { return attribute.String("weir.job", name) }

// ids are random, but where a context holds others.
type ids struct{}

type idKey struct{}

// NewIDs are those of a trace and of its first span.
func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if s, ok := ctx.Value(idKey{}).(trace.SpanContext); ok {
		return s.TraceID(), s.SpanID()
	}
	var t trace.TraceID
	_, _ = rand.Read(t[:]) // it does not fail
	return t, ids{}.NewSpanID(ctx, t)
}

// NewSpanID is that of another span.
func (ids) NewSpanID(context.Context, trace.TraceID) (s trace.SpanID) {
	_, _ = rand.Read(s[:]) // as above
	return s
}
