// Package nn describes a network as data and what an engine does with it.
//
// A Graph is static: every Value has a shape known before the first batch, and
// every Node is an Op (a small struct with its attributes) from input values
// to output values. A net package (mlp, cnn) builds a Model: a graph with its
// features, parameters, output and loss. NewProgram orders the nodes that a
// purpose needs and, for training, appends the reverse pass, itself made of
// ordinary nodes; so planning memory, fusing and scheduling treat both passes
// alike.
//
//	Graph --NewProgram--> Program --Engine.Compile--> Session --TrainStep/Forward--> results
//	        (prune, reverse pass)     (fuse, PlanMemory)
//
// An Engine turns a model into a Session that owns parameters, optimiser state
// and buffers. All engines pass the suite in nn/conformance, which checks them
// against a float64 interpreter and finite differences.
//
// The first dimension of a Batched value is the batch: a step may run on fewer
// rows than the graph was built for (the tail of an epoch), and then means what
// a graph built for that many rows would have meant.
//
// The package knows nothing of datasets, classes or subclasses: the subclass
// cross-entropy and the neglection degree are ops here so that engines can fuse
// them; what they mean is package subclass's.
package nn
