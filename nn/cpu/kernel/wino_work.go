package kernel

// Work returns the floating-point operations of the products that Run does for some images: 2 for each tile, point and pair
// of channels. The transforms, additions of far fewer values, do not count.
func (v *Conv3x3) Work(images int) float64 {
	points := v.alg.points * v.alg.points
	return 2 * float64(v.tilesOf(images)) * float64(points) * float64(v.k) * float64(v.n)
}
