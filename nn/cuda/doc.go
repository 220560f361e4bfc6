// Package cuda is the engine that runs models on an NVIDIA card.
//
// Compile lowers a Program into ops over planned memory, and an op, bound to a
// number of rows, into launches on one stream; after a first plain run they are
// recorded as a graph and replayed:
//
//	Program --lower--> []op --PlanMemory--> arena --bind(rows)--> [][]launch --record--> graph
//	        fuse, types     offsets               plans, addresses
//
// The engine knows no library: it asks a driver.Card for memory, streams,
// kernels, products and convolutions. docs/cuda.md has the whole picture: what a
// step waits for, what is in which precision, and the floor of a step.
package cuda
