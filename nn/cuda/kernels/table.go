package kernels

import "sdnn/nn/cuda/driver"

// OptimizerTensor is a parameter as the optimisers see it.
type OptimizerTensor struct {
	Weight, Gradient driver.Ptr
	State            [2]driver.Ptr // in the order of nn.Optimizer.StateNames; SGD has one
	Shadow           driver.Ptr    // the weight rounded to bf16; 0: none
	Elements         int
	GradientBF16     bool // the gradient is bf16, not float32
	// Row is the number of elements of a row of which a theta kernel takes the
	// squares, 0 of any other tensor.
	Row int
}

// chunkElements is CHUNK of optimizer.cu.
const chunkElements = 4096

// OptimizerTable makes the tables of the optimisers: seven words a tensor, and two
// numbers a block. They go to the card as they are; tensors is their number and
// count is len(chunks)/2. Of a tensor with rows the pieces of the same columns
// follow each other, so that what belongs to the columns stays in the card's cache.
func OptimizerTable(tensors []OptimizerTensor) (table []uint64, chunks []int32) {
	for i, t := range tensors {
		n := uint64(t.Elements)
		if t.GradientBF16 {
			n |= 1 << 63
		}
		row := t.Row
		if row == 0 {
			row = max(t.Elements, 1)
		}
		table = append(table, uint64(t.Weight), uint64(t.Gradient), uint64(t.State[0]), uint64(t.State[1]), uint64(t.Shadow), n, uint64(row))
		pieces := over(row, chunkElements)
		for k := range pieces {
			for line := range t.Elements / row {
				chunks = append(chunks, int32(i), int32(line*pieces+k))
			}
		}
	}
	return table, chunks
}

// OptimizerPieces is the number of pieces of a row of a tensor.
func OptimizerPieces(row int) int { return over(row, chunkElements) }

// OptimizerBytes is what an update of the tensors moves at least.
func OptimizerBytes(tensors []OptimizerTensor) float64 {
	sum := 0
	for _, t := range tensors {
		per := 4 * 2 // the weight, read and written
		for _, s := range t.State {
			if s != 0 {
				per += 4 * 2
			}
		}
		per += 4
		if t.GradientBF16 {
			per -= 2
		}
		if t.Shadow != 0 {
			per += 2
		}
		sum += per * t.Elements
	}
	return float64(sum)
}
