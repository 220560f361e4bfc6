package cuda

// SetBesideLeast sets how many bytes an early update must move, and returns what
// takes that back.
func SetBesideLeast(bytes int) (restore func()) {
	before := besideLeast
	besideLeast = bytes
	return func() { besideLeast = before }
}
