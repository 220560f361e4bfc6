// Package gorgonia is the independent second engine, "--engine gorgonia": it
// builds a model as an expression graph of gorgonia.org/gorgonia and takes the
// gradients from that library's symbolic differentiation. Nothing of the
// reverse pass of package nn is used, nor a kernel of another engine, so that
// where two engines agree neither is wrong by a shared mistake. It is several
// times slower than the cpu engine and needs more memory: every value of a step
// is allocated anew.
//
//	nn.Model --builder--> ExprGraph, forward     leaves: features, parameters,
//	            |                                masks, noise, dense targets, ones
//	            +--gorgonia.Grad--> gradients
//	                     |
//	          machine (TapeMachine) --values--> loss, scores, gradients
//	                                               |
//	                              optimiser and neglection degree, in Go
//
// What is done around the library's traps (version 0.9.18):
//
//   - Its tape overwrites the operand of an elementwise op in place, leaves too,
//     so every leaf is bound anew, from the session's own memory, before a run.
//   - Its Reshape may return the same memory as a value that lives on; a fence
//     (see builder.reshape) copies on either side, in both passes.
//   - Sums over rows or columns and broadcasts are matrix products with ones:
//     its reductions and broadcasts differ in shape where a dimension is 1.
//   - Its Rectify passes a gradient at 0; ours is a product with x > 0.
//   - BindDualValues adds to the last run's gradients; gradients are read
//     from their nodes instead.
//   - RunAll executes ops on a goroutine of its own, where a panic would end the
//     program; machine.run executes them on the caller's, and makes it an error.
//   - Dropout, BatchNorm, GlobalAveragePool2D and the LispMachine are not used.
//
// A batch's rows beyond Feed.Rows repeat the first row and weigh zero in the
// loss, so that they bring no zeros or stale numbers into a division.
package gorgonia
