// Package sdk is the typed Go API: a pipeline is written with it, and becomes a
// graph that the engine runs.
//
// A [Pipeline] holds operators, a [Stream] is the output of one. Functions such as
// [Map] and [KeyBy] take streams and return streams; they are functions and not
// methods because Go's methods cannot introduce types. Building a pipeline runs
// nothing: that is what package sdk/run is for.
//
//	p := sdk.New("wordcount")
//	lines := sdk.Read(p, file.Text("books/"))
//	words := sdk.FlatMap(lines, func(line string, out *sdk.Out[string]) {
//		for w := range strings.FieldsSeq(line) {
//			out.Emit(w)
//		}
//	})
//	counts := sdk.Aggregate(sdk.KeyBy(words, func(w string) string { return w }), sdk.Count[string]())
//	sdk.Write(counts, console.Print[sdk.KeyValue[string, int64]](nil, nil))
//
// Mistakes are collected while the pipeline is built, and reported together by
// [Pipeline.Graph] or when it is run; every function returns a stream that can be
// used, whatever was wrong.
//
// User functions of one operator instance are called by one goroutine, one at a
// time; functions shared by several operators or subtasks (closures over a common
// variable) must not change what they share.
package sdk
