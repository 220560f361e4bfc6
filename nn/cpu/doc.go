// Package cpu is the engine that runs models on the processor.
//
// Compile lowers a Program into a flat list of ops over planned memory:
//
//	Program --lower--> []op --PlanMemory--> arena --bind--> []func()
//	        fuse        reads, writes       offsets        closures over slices
//
// Lowering fuses what would otherwise write an intermediate to memory (a dense
// layer with its bias and ReLU; convolution, ReLU and max-pool of the video
// net, batch normalisation with ReLU, residual add and max-pool of the image
// nets, forward and backward; in an evaluation of those, all that stands between
// two convolutions, see convTail) and puts each parameter's update right after the
// last reader of the parameter and its gradient, so that the gradient's memory
// is free for the next layer's. Binding happens once: a step runs closures and
// allocates nothing.
//
// Work is split over rows or columns in blocks of a fixed size and every
// reduction runs in a fixed order, so that the bits of a result do not depend
// on the number of threads. Nor do they depend on whether a dense layer's product skips the
// zeros that it finds in what it reads: kernel.GemmSparse chooses the faster way, and names the two
// exceptions. Package kernel has the inner loops, package pool the threads.
package cpu
