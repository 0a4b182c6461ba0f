// Package sdktest tests pipelines: it runs them in the test's process, on the same
// engine as any job.
//
// There are two ways. [Run] runs a whole pipeline to the end of its input; its
// sources are of package connector/slice, say, and its results are collected by
// connector/collect. A [Harness] drives a pipeline, or a piece of one, step by
// step: the test pushes records and watermarks, moves processing time, and looks
// at what has come out. It lives in a bubble of testing/synctest, so that time is
// the test's own and nothing has to be waited for:
//
//	synctest.Test(t, func(t *testing.T) {
//		h := sdktest.New(t)
//		in := sdktest.Input[Click](h, "clicks")
//		out := sdktest.Collect(h, countPerMinute(in.Stream))
//		in.Push(Click{Page: "/"}, 5*second)
//		in.Watermark(minute)
//		sdktest.Equal(t, out.Take(), []Count{{"/", 1}})
//	})
//
// Its words: a step is a call that gives the job something to do: [In.Push],
// [In.Add], [In.Watermark], [In.End], [Harness.AdvanceTime]. The job is quiet when
// all of it waits for the test.
//
// Invariants:
//
//  1. A step returns when the job is quiet. So steps on different inputs reach the
//     job in the order in which the test takes them, and with one subtask the
//     order of results is that of the program.
//  2. The job starts with the first step; what was not built before is refused.
//  3. The job has ended when the test has, also after a failure.
//
// The harness and what belongs to it are for the goroutine of the test.
package sdktest
