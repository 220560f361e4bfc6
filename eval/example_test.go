package eval_test

import (
	"fmt"

	"sdnn/eval"
)

func ExampleMultiLabel() {
	m := eval.NewMultiLabel(3, 20, 1)
	// Two videos, three classes; the first has the labels 0 and 2, the second has 1.
	err := m.Add([]float32{
		.9, .2, .4,
		.6, .5, .1,
	}, []int32{0, 2, 3}, []int32{0, 2, 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := m.Result()
	fmt.Printf("Hit@1 %.2f PERR %.2f mAP %.2f GAP %.3f\n", r.HitAt1, r.PERR, r.MAP, r.GAP)
	// Pooled by score: 0.9 hit, 0.6 miss, 0.5 hit, 0.4 hit, 0.2, 0.1.
	// GAP = (1/1 + 2/3 + 3/4) / 3.

	// Output: Hit@1 0.50 PERR 0.50 mAP 1.00 GAP 0.806
}
