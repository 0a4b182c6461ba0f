package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/weirflow/weir/connector/collect/sinktest"
	"github.com/weirflow/weir/connector/collect/sourcetest"
	"github.com/weirflow/weir/connector/kafka"
	"github.com/weirflow/weir/flow"
	"github.com/weirflow/weir/internal/obs"
	"github.com/weirflow/weir/operator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster starts a broker with topics of two partitions.
func cluster(t *testing.T, topics ...string) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

func client(t *testing.T, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(100*time.Millisecond))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// produce writes values to a partition, at times of one second each from 1000 s on.
func produce(t *testing.T, brokers []string, topic string, partition int32, values ...string) {
	t.Helper()
	cl := client(t, brokers)
	for i, v := range values {
		r := &kgo.Record{
			Topic: topic, Partition: partition, Key: []byte("k" + v), Value: []byte(v), Timestamp: time.Unix(1000+int64(i), 0),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(v)}},
		}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func numbers(from, to int) []string {
	var s []string
	for i := from; i < to; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return s
}

func real() sourcetest.Options { return sourcetest.Options{Real: true} }

func source(brokers []string, topics []string, opts ...kafka.SourceOption) operator.Source[string] {
	return kafka.Source(brokers, topics, kafka.String(), opts...)
}

// expect reads to the end and compares the values of each split.
func expect(t *testing.T, src operator.Source[string], want map[string][]string) {
	t.Helper()
	j := sourcetest.Start(t, src, real(), nil)
	j.ReadAll()
	got := j.BySplit()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	j.Close()
}

func TestStartAndEnd(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a", "b")
	produce(t, b, "a", 0, numbers(0, 6)...)
	produce(t, b, "a", 1, "x")
	end := kafka.EndLatest()
	expect(t, source(b, []string{"a"}, end), map[string][]string{"a/0": numbers(0, 6), "a/1": {"x"}})
	expect(t, source(b, []string{"a"}, kafka.StartLatest(), end), map[string][]string{})
	expect(t, source(b, []string{"b"}, end), map[string][]string{})
	expect(t, source(b, []string{"a"}, kafka.StartAt(time.Unix(1002, 1)), end), map[string][]string{"a/0": {"3", "4", "5"}})
	expect(t, source(b, []string{"a"}, kafka.StartAt(time.Unix(1001, 0)), kafka.EndAt(time.Unix(1004, 0))),
		map[string][]string{"a/0": {"1", "2", "3"}})
	at := func(p int32, o int64) map[kafka.Partition]int64 {
		return map[kafka.Partition]int64{{Topic: "a", Partition: p}: o}
	}
	expect(t, source(b, []string{"a"}, kafka.StartOffsets(at(0, 4)), end), map[string][]string{"a/0": {"4", "5"}, "a/1": {"x"}})
	expect(t, source(b, []string{"a"}, kafka.EndOffsets(at(0, 2))), map[string][]string{"a/0": {"0", "1"}})
	expect(t, source(b, nil, kafka.Pattern("[ab]"), end), map[string][]string{"a/0": numbers(0, 6), "a/1": {"x"}})

	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "a", Partition: 0, At: 3, LeaderEpoch: -1})
	adm := kadm.NewClient(client(t, b))
	if err := adm.CommitAllOffsets(t.Context(), "g", offsets); err != nil {
		t.Fatal(err)
	}
	expect(t, source(b, []string{"a"}, kafka.StartCommitted("g"), end), map[string][]string{"a/0": {"3", "4", "5"}, "a/1": {"x"}})
}

func TestRecordsAreWhole(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	produce(t, b, "a", 1, "v")
	j := sourcetest.Start(t, kafka.Source(b, []string{"a"}, kafka.Records(), kafka.EndLatest()), real(), nil)
	j.ReadAll()
	r := j.Records[0].Value
	if r.Topic != "a" || r.Partition != 1 || r.Offset != 0 || string(r.Key) != "kv" || string(r.Value) != "v" ||
		len(r.Headers) != 1 || r.Headers[0].Key != "h" || r.Time != flow.Time(1000_000_000) || j.Records[0].Time != r.Time {
		t.Fatalf("%+v", r)
	}
	if w := j.Where(0); w != `topic "a", partition 1, offset 0` {
		t.Error(w)
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	produce(t, b, "a", 0, numbers(0, 9)...)
	produce(t, b, "a", 1, numbers(100, 105)...)
	sourcetest.Resume(t, source(b, []string{"a"}, kafka.EndLatest()), 15)
}

func TestSurvive(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a", "b")
	produce(t, b, "a", 0, numbers(0, 30)...)
	produce(t, b, "a", 1, numbers(100, 111)...)
	produce(t, b, "b", 1, numbers(200, 220)...)
	sourcetest.Survive(t, source(b, []string{"a", "b"}, kafka.EndLatest()), 15, real())
}

func TestUnboundedFindsNewPartitions(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	produce(t, b, "a", 0, "1", "2")
	j := sourcetest.Start(t, source(b, nil, kafka.Pattern("a|late"), kafka.StartLatest(), kafka.Discover(20*time.Millisecond)),
		sourcetest.Options{Real: true, Readers: 2}, nil)
	if err := j.Discover(); err != nil {
		t.Fatal(err)
	}
	produce(t, b, "a", 0, "3")
	j.Read(1)
	adm := kadm.NewClient(client(t, b))
	if _, err := adm.CreateTopic(t.Context(), 1, 1, nil, "late"); err != nil {
		t.Fatal(err)
	}
	produce(t, b, "late", 0, "4")
	if _, err := adm.UpdatePartitions(t.Context(), 3, "a"); err != nil {
		t.Fatal(err)
	}
	produce(t, b, "a", 2, "5")
	j.Read(3)
	got := j.Values()
	slices.Sort(got)
	if !slices.Equal(got, []string{"3", "4", "5"}) || j.Ended() {
		t.Fatal(got)
	}
	// What was discovered is not discovered again after a restart.
	state := j.Snapshot()
	j.Close()
	produce(t, b, "late", 0, "6")
	k := sourcetest.Start(t, source(b, nil, kafka.Pattern("a|late"), kafka.StartLatest(), kafka.Discover(20*time.Millisecond)), real(), state)
	k.Read(1)
	if got := k.Values(); !slices.Equal(got, []string{"6"}) {
		t.Fatal(got)
	}
}

// A transaction's markers take offsets, aborted records are none: a bounded source
// must see that it is at its end.
func TestTransactions(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	tx := client(t, b, kgo.TransactionalID("tx"))
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for p := range int32(2) {
			r := &kgo.Record{Topic: "a", Partition: p, Value: fmt.Append(nil, i)}
			if err := tx.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, source(b, []string{"a"}, kafka.EndLatest()), map[string][]string{"a/0": {"0", "2"}, "a/1": {"0", "2"}})
	expect(t, source(b, []string{"a"}, kafka.EndLatest(), kafka.ReadUncommitted()),
		map[string][]string{"a/0": {"0", "1", "2", "3"}, "a/1": {"0", "1", "2", "3"}})
	sourcetest.Resume(t, source(b, []string{"a"}, kafka.EndLatest()), 5)
}

func TestBadRecords(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	produce(t, b, "a", 0, `{"N":1}`, `{"N":`, `{"N":3}`)
	type rec struct{ N int }
	src := kafka.Source(b, []string{"a"}, kafka.JSON[rec](), kafka.EndLatest())
	j := sourcetest.Start(t, src, real(), nil)
	j.ReadAll()
	if got := fmt.Sprint(j.Values()); got != "[{1} {3}]" || len(j.Bad) != 1 {
		t.Fatal(got, j.Bad)
	}
	if bad := j.Bad[0]; bad.Where != `topic "a", partition 0, offset 1` || string(bad.Raw) != `{"N":` || bad.Time != flow.Time(1001_000_000) {
		t.Fatalf("%+v", bad)
	}
	stop := errors.New("stop")
	o := real()
	o.Bad = func(operator.BadRecord) error { return stop }
	if err := sourcetest.Start(t, src, o, nil).Fail(); !errors.Is(err, stop) {
		t.Fatal(err)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	b := cluster(t, "clicks")
	for _, c := range []struct {
		src  operator.Source[string]
		want []string
	}{
		{source(b, []string{"click"}), []string{`topic "click" does not exist`, "create it", "clicks"}},
		{source(nil, []string{"a"}), []string{"no broker is named"}},
		{source(b, nil), []string{"no topic is named", "kafka.Pattern"}},
		{source(b, nil, kafka.Pattern("(")), []string{`Pattern("(")`}},
		{source(b, []string{"a"}, kafka.Buffer(0)), []string{"Buffer(0)"}},
		{kafka.Source[string](b, []string{"a"}, nil), []string{"decoder is nil"}},
	} {
		err := discover(c.src)
		for _, w := range c.want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("got %v, want %q", err, w)
			}
		}
		if f := flow.FailureOf(err); f != nil && f.Retryable {
			t.Errorf("a retry does not help: %v", err)
		}
	}
}

func discover(src operator.Source[string]) error {
	e, err := src.Enumerator()
	if err != nil {
		return err
	}
	_, err = e.Discover(context.Background())
	return errors.Join(err, e.Close())
}

func TestNoBrokerAtStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	err = discover(source([]string{addr}, []string{"a"}, kafka.Outage(100*time.Millisecond)))
	if f := flow.FailureOf(err); err == nil || !strings.Contains(err.Error(), addr) || f.Domain != flow.DomainExternal || !f.Retryable {
		t.Fatal(err)
	}
}

func TestLostPositionIsAnError(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	produce(t, b, "a", 0, numbers(0, 10)...)
	adm := kadm.NewClient(client(t, b))
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "a", Partition: 0, At: 5, LeaderEpoch: -1})
	if _, err := adm.DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	at := kafka.StartOffsets(map[kafka.Partition]int64{{Topic: "a", Partition: 0}: 2})
	err := sourcetest.Start(t, source(b, []string{"a"}, at, kafka.EndLatest()), real(), nil).Fail()
	if err == nil || !strings.Contains(err.Error(), "reading a/0") || !strings.Contains(err.Error(), "retention") {
		t.Fatal(err)
	}
	expect(t, source(b, []string{"a"}, kafka.EndLatest()), map[string][]string{"a/0": numbers(5, 10)})
}

func TestLostPositionByOption(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	produce(t, b, "a", 0, numbers(0, 10)...)
	j := sourcetest.Start(t, source(b, []string{"a"}), sourcetest.Options{Real: true, Max: 2}, nil)
	j.Read(2)
	state := j.Snapshot()
	j.Close()
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "a", Partition: 0, At: 5, LeaderEpoch: -1})
	if _, err := kadm.NewClient(client(t, b)).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	if err := sourcetest.Start(t, source(b, []string{"a"}), real(), state).Fail(); err == nil || !strings.Contains(err.Error(), "kafka.IfLost") || flow.FailureOf(err).Retryable {
		t.Fatal(err)
	}
	for lost, want := range map[kafka.Lost][]string{kafka.LostEarliest: numbers(5, 10), kafka.LostLatest: {"10"}} {
		l := &log{}
		o := real()
		o.Log = slog.New(l)
		k := sourcetest.Start(t, source(b, []string{"a"}, kafka.IfLost(lost)), o, state)
		if lost == kafka.LostLatest {
			must(t, k.Discover())
			until(t, "the loss to be told", func() bool { return l.count("deleted before they were read") > 0 })
			// The client finds the end some time after that.
			until(t, "a record behind the end", func() bool {
				produce(t, b, "a", 0, "10")
				for !k.Idle() && len(k.Records) == 0 { // it may have woken for nothing
					_, _, err := k.Step()
					must(t, err)
				}
				return len(k.Records) > 0
			})
		} else {
			k.Read(len(want))
		}
		k.Close()
		if got := k.Values()[:len(want)]; !slices.Equal(got, want) {
			t.Errorf("%d: %v", lost, got)
		}
	}
}

func TestTopicCreatedAgain(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	produce(t, b, "a", 0, numbers(0, 10)...)
	j := sourcetest.Start(t, source(b, []string{"a"}), real(), nil)
	j.Read(5)
	state := j.Snapshot()
	j.Close()
	adm := kadm.NewClient(client(t, b))
	if _, err := adm.DeleteTopic(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	err := sourcetest.Start(t, source(b, []string{"a"}), real(), state).Fail()
	if err == nil || !strings.Contains(err.Error(), "does not exist any more") || flow.FailureOf(err).Retryable {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(t.Context(), 2, 1, nil, "a"); err != nil {
		t.Fatal(err)
	}
	produce(t, b, "a", 0, numbers(100, 130)...)
	err = sourcetest.Start(t, source(b, []string{"a"}), real(), state).Fail()
	if err == nil || !strings.Contains(err.Error(), "deleted and created again") || flow.FailureOf(err).Retryable {
		t.Fatal(err)
	}
}

func TestCommitTo(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	produce(t, b, "a", 0, numbers(0, 10)...)
	src := source(b, []string{"a"}, kafka.CommitTo("lag"))
	e, err := src.Enumerator()
	must(t, err)
	defer e.Close()
	d, err := e.Discover(t.Context())
	must(t, err)
	r, err := src.Reader(&operator.ReaderContext{Context: t.Context(), Log: slog.Default(), Metrics: &obs.Operator{}, Wake: func() {}})
	must(t, err)
	defer r.Close()
	for _, s := range d.Splits {
		must(t, r.Add(s))
	}
	var into operator.Records[string]
	until(t, "a record", func() bool {
		_, err := r.Read(&into, 4)
		must(t, err)
		return len(into.Values) == 4
	})
	splits, err := r.Snapshot()
	must(t, err)
	must(t, r.(operator.EpochReader).Committed(1, splits))
	adm := kadm.NewClient(client(t, b))
	until(t, "the group's offset", func() bool {
		o, err := adm.FetchOffsets(t.Context(), "lag")
		at, ok := o.Lookup("a", 0)
		return err == nil && ok && at.At == 4
	})
}

func TestPauseAndBound(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	big := strings.Repeat("x", 2000)
	var values []string
	for i := range 60 {
		values = append(values, fmt.Sprint(i, big))
	}
	produce(t, b, "a", 0, values...)
	produce(t, b, "a", 1, values...)
	// The buffer is smaller than what the paused split fills it with.
	j := sourcetest.Start(t, source(b, []string{"a"}, kafka.EndLatest(), kafka.Buffer(10_000)), real(), nil)
	j.Read(2)
	paused := j.Records[0].Split
	j.Pause(paused, true)
	other := "a/0"
	if paused == other {
		other = "a/1"
	}
	for len(j.BySplit()[other]) < 60 {
		if _, more, err := j.Step(); !more || err != nil {
			t.Fatal(more, err)
		}
	}
	j.Pause(paused, false)
	j.ReadAll()
	if got := j.BySplit(); !slices.Equal(got["a/0"], values) || !slices.Equal(got["a/1"], values) {
		t.Fatal(len(got["a/0"]), len(got["a/1"]))
	}
}

// wire makes connections that can be cut.
type wire struct {
	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return nil, errors.New("no route to the broker")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil {
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) set(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// log keeps what was logged.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (*log) Enabled(context.Context, slog.Level) bool { return true }
func (l *log) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l *log) WithGroup(string) slog.Handler          { return l }
func (l *log) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Message)
	return nil
}

func (l *log) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// until polls a condition.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for: %s", what)
		}
	}
}

func TestBrokerGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	w, l := &wire{}, &log{}
	o := real()
	o.Log = slog.New(l)
	j := sourcetest.Start(t, source(b, []string{"a"}, kafka.Dialer(w.dial), kafka.Discover(0)), o, nil)
	var want []string
	for round := range 3 {
		values := numbers(round*100, round*100+50)
		if round > 0 {
			w.set(true)
			until(t, "the outage to be seen", func() bool { return l.count("no broker answers") == round })
		}
		produce(t, b, "a", 0, values...)
		if round > 0 {
			w.set(false)
		}
		want = append(want, values...)
		j.Read(len(want))
	}
	if got := j.Values(); !slices.Equal(got, want) {
		t.Fatal(got)
	}
	until(t, "the end of the outage to be told", func() bool { return l.count("answers again") == 2 })
}

func TestLongOutageFails(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	produce(t, b, "a", 0, "1")
	w := &wire{}
	j := sourcetest.Start(t, source(b, []string{"a"}, kafka.Dialer(w.dial), kafka.Discover(0), kafka.Outage(2*time.Second)), real(), nil)
	j.Read(1)
	w.set(true)
	err := j.Fail()
	if f := flow.FailureOf(err); f.Domain != flow.DomainExternal || !f.Retryable || !strings.Contains(err.Error(), "no route") || !strings.Contains(err.Error(), b[0]) {
		t.Fatal(err)
	}
}

// A broker that takes connections and says nothing must not hold up a task's end.
func TestCloseWhileBrokerHangs(t *testing.T) {
	t.Parallel()
	b := cluster(t, "a")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	src := source(b, []string{"a"})
	e, err := src.Enumerator()
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	hanging := []string{l.Addr().String()}
	src = source(hanging, []string{"a"}, kafka.Outage(100*time.Millisecond))
	began := time.Now()
	quick := func(what string) {
		t.Helper()
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("%s took %v", what, d)
		}
		began = time.Now()
	}
	if err := discover(src); err == nil || !strings.Contains(err.Error(), hanging[0]) {
		t.Error(err)
	}
	quick("discovery")
	r, err := src.Reader(&operator.ReaderContext{Context: t.Context(), Log: slog.New(slog.DiscardHandler), Metrics: &obs.Operator{}, Wake: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range d.Splits {
		if err := r.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	quick("closing the reader")
	w := newWriter(t, kafka.Sink(hanging, "a", kafka.ToString(), kafka.AtLeastOnce()))
	if err := w.Write(&flow.Batch[string]{Values: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	quick("closing the writer")
}

func TestScram(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "a"), kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-256", "u256", "p"), kfake.Superuser("SCRAM-SHA-512", "u512", "p"), kfake.Superuser("PLAIN", "plain", "p"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	b := c.ListenAddrs()
	for _, login := range []kafka.Option{kafka.SASLPlain("plain", "p"), kafka.SASLScram256("u256", "p"), kafka.SASLScram512("u512", "p")} {
		expect(t, source(b, []string{"a"}, kafka.EndLatest(), login), map[string][]string{})
	}
	for _, login := range []kafka.Option{kafka.SASLPlain("plain", "wrong"), kafka.SASLScram256("u256", "wrong"), kafka.ClientID("nobody")} {
		if err := discover(source(b, []string{"a"}, login)); err == nil || !strings.Contains(err.Error(), "password") {
			t.Error(err)
		}
	}
}

func newWriter[T any](t *testing.T, s operator.Sink[T]) operator.Writer[T] {
	t.Helper()
	w, err := s.Writer(&operator.WriterContext{Context: t.Context(), Log: slog.New(slog.DiscardHandler), Metrics: &obs.Operator{}, Name: "sink", Staging: &sinktest.Staging{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestSinkWritesWhatSourceReads(t *testing.T) {
	t.Parallel()
	b := cluster(t, "out")
	type click struct {
		User string
		N    int
	}
	sink := kafka.Sink(b, "out", kafka.ToJSON(func(c click) []byte { return []byte(c.User) }), kafka.Buffer(4096), kafka.AtLeastOnce())
	if sink.Info().Guarantee != "at-least-once" {
		t.Error(sink.Info())
	}
	w := newWriter(t, sink)
	byUser := map[string][]click{}
	for i := range 500 {
		c := click{fmt.Sprint("u", i%5), i}
		byUser[c.User] = append(byUser[c.User], c)
		if err := w.Write(&flow.Batch[click]{Values: []click{c}, Times: []flow.Time{flow.Time(i) * 1_000_000}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Prepare(flow.Barrier{Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	j := sourcetest.Start(t, kafka.Source(b, []string{"out"}, kafka.JSON[click](), kafka.EndLatest()), real(), nil)
	j.ReadAll()
	got, split := map[string][]click{}, map[string]string{}
	for _, r := range j.Records {
		c := r.Value
		got[c.User] = append(got[c.User], c)
		if s, ok := split[c.User]; ok && s != r.Split {
			t.Fatalf("user %s is in two partitions", c.User)
		}
		split[c.User] = r.Split
		if r.Time != flow.Time(c.N)*1_000_000 {
			t.Fatalf("record %d has time %v", c.N, r.Time)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(byUser) {
		t.Fatalf("got %v", got)
	}
}

func TestSinkErrors(t *testing.T) {
	t.Parallel()
	b := cluster(t, "out")
	prepare := func(s operator.Sink[string], v string) error {
		w := newWriter(t, s)
		if err := w.Write(&flow.Batch[string]{Values: []string{v}}); err != nil {
			return err
		}
		_, err := w.Prepare(flow.Barrier{Epoch: 1})
		return err
	}
	for _, c := range []struct {
		topic  string
		encode kafka.Encoder[string]
		want   string
	}{
		{"nowhere", kafka.ToString(), `topic "nowhere" does not exist`},
		{"", kafka.ToString(), "neither the sink nor the message names a topic"},
		{"out", func(string) (kafka.Message, error) { return kafka.Message{}, errors.New("no code") }, "encoding record 1 of this subtask: user failure"},
		{"out", func(string) (kafka.Message, error) { return kafka.Message{Value: make([]byte, 2<<20)}, nil }, `topic "out": a record of 2097`},
	} {
		for _, opts := range [][]kafka.SinkOption{nil, {kafka.AtLeastOnce()}} {
			err := prepare(kafka.Sink(b, c.topic, c.encode, opts...), "v")
			if err == nil || !strings.Contains(err.Error(), c.want) && !strings.Contains(err.Error(), "no code") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		}
	}
	if _, err := kafka.Sink[string](b, "out", nil).Writer(nil); err == nil {
		t.Error("no encoder, no error")
	}
}

func TestSinkOutage(t *testing.T) {
	t.Parallel()
	b := cluster(t, "out")
	w := &wire{}
	wr := newWriter(t, kafka.Sink(b, "out", kafka.ToString(), kafka.AtLeastOnce(), kafka.Dialer(w.dial), kafka.Outage(2*time.Second),
		kafka.Partitioner(func(string, []byte, []byte, int) int { return 1 })))
	write := func(v string) error {
		if err := wr.Write(&flow.Batch[string]{Values: []string{v}}); err != nil {
			return err
		}
		_, err := wr.Prepare(flow.Barrier{Epoch: 1})
		return err
	}
	if err := write("1"); err != nil {
		t.Fatal(err)
	}
	w.set(false) // cut, but at once back
	if err := write("2"); err != nil {
		t.Fatal(err)
	}
	w.set(true)
	err := write("3")
	if f := flow.FailureOf(err); err == nil || !f.Retryable || f.Domain != flow.DomainExternal || !strings.Contains(err.Error(), "no broker") {
		t.Fatal(err)
	}
	expect(t, source(b, []string{"out"}, kafka.EndLatest()), map[string][]string{"out/1": {"1", "2"}})
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte{0x84})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := source([]string{"127.0.0.1:1"}, []string{"a"}).Reader(&operator.ReaderContext{
			Context: t.Context(), Log: slog.New(slog.DiscardHandler), Metrics: &obs.Operator{}, Wake: func() {},
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Add(operator.Split{ID: "x", Data: data}) == nil {
			if _, err := r.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// The offsets before an end may be gone, by compaction: the record behind them
// tells that the end is reached.
func TestCompactedEnd(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	b := c.ListenAddrs()
	compact := "compact"
	cl := client(t, b)
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &compact}, "a"); err != nil {
		t.Fatal(err)
	}
	for i, key := range []string{"x", "y", "x", "x", "y", "x"} {
		r := &kgo.Record{Topic: "a", Key: []byte(key), Value: fmt.Append(nil, i)}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c.Compact() // which leaves the newest batch out of its count
	at := func(end int64) kafka.SourceOption {
		return kafka.EndOffsets(map[kafka.Partition]int64{{Topic: "a"}: end})
	}
	expect(t, source(b, []string{"a"}, at(3)), map[string][]string{})
	expect(t, source(b, []string{"a"}, at(5)), map[string][]string{"a/0": {"3", "4"}})
	expect(t, source(b, []string{"a"}, kafka.EndLatest()), map[string][]string{"a/0": {"3", "4", "5"}})
}

func BenchmarkSource(b *testing.B) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "a"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	const n = 200_000
	for i := range n {
		cl.Produce(b.Context(), &kgo.Record{Topic: "a", Value: fmt.Appendf(nil, "%0100d", i)}, nil)
	}
	if err := cl.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	src := kafka.Source(c.ListenAddrs(), []string{"a"}, kafka.Bytes(), kafka.EndLatest())
	e, err := src.Enumerator()
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	d, err := e.Discover(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		wake := make(chan struct{}, 1)
		r, err := src.Reader(&operator.ReaderContext{
			Context: b.Context(), Log: slog.New(slog.DiscardHandler), Metrics: &obs.Operator{},
			Wake: func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Add(d.Splits[0]); err != nil {
			b.Fatal(err)
		}
		var into operator.Records[[]byte]
		for into.Done = false; !into.Done; {
			into.Reset()
			st, err := r.Read(&into, 1024)
			if err != nil {
				b.Fatal(err)
			}
			if st.Wait {
				<-wake
			}
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}
