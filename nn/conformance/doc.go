// Package conformance is the suite that every engine passes: what an nn.Engine
// computes is compared with a naive float64 interpreter of the same graph, with
// finite differences of the loss, and with golden values computed elsewhere.
//
// An engine's own test is
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, cpu.New(), conformance.AllOps)
//	}
//
// The second argument lists the ops that the engine must support (VideoOps,
// ImageOps or AllOps); a case with another op is skipped if the engine refuses it
// by an *nn.UnsupportedError. An op of the reverse pass is needed wherever its
// forward op is.
// Compare runs two engines beside each other.
//
// Three implementations meet here, none derived from another:
//
//	loss        Interpret (naive loops, float64)  ---finite differences--->  gradients
//	gradients   the reverse pass of nn.NewProgram, interpreted (Reference)
//	both        the engine under test, float32
//
// Reference is the interpreter as an engine. It is slow and exact, keeps its
// state in float32, and passes the suite itself: that is the test of the suite.
package conformance
