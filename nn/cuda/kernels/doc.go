// Package kernels holds the cuda engine's own kernels: CUDA C, compiled by NVRTC
// for the card at hand, and what the engine needs to launch them rightly.
//
// README.md lists every kernel with its arguments. The engine calls Set.Launch
// with a kernel's name and arguments; their number and types are checked against
// the declaration in the source, and the launch geometry follows from them.
package kernels
