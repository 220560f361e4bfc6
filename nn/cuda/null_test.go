package cuda

import (
	"sync"
	"unsafe"

	"sdnn/nn/cuda/driver"
)

// nullCard is a card that computes nothing and counts what is asked of it: for
// plans of networks too large to run in a test.
type nullCard struct {
	mu       sync.Mutex
	memory   int
	next     driver.Ptr
	launches int
	matmuls  int
	convs    int
	others   int // copies and clearings
	held     map[unsafe.Pointer][]uint64
	names    []string
	plans    []driver.MatmulSpec
}

func newNullCard(memory int) *nullCard {
	return &nullCard{memory: memory, next: 1 << 40, held: map[unsafe.Pointer][]uint64{}}
}

func (c *nullCard) Info() driver.Info {
	return driver.Info{Name: "null", Memory: c.memory, Major: 9, SupportsBF16: true, Multiprocessors: 132, Libraries: map[string]int{}}
}
func (c *nullCard) MemoryFree() (int, error) { return c.memory, nil }
func (c *nullCard) Alloc(n int) (driver.Ptr, error) {
	if n > c.memory {
		return 0, &driver.Error{Call: "cuMemAlloc", Code: codeOutOfMemory, Text: "CUDA_ERROR_OUT_OF_MEMORY"}
	}
	p := c.next
	c.next = c.next.Add(align(n))
	return p, nil
}
func (c *nullCard) Free(driver.Ptr) error { return nil }
func (c *nullCard) AllocHost(n int) (unsafe.Pointer, error) {
	b := make([]uint64, n/8+1)
	p := unsafe.Pointer(&b[0])
	c.held[p] = b
	return p, nil
}
func (c *nullCard) FreeHost(p unsafe.Pointer) error                                   { delete(c.held, p); return nil }
func (c *nullCard) NewStream() (driver.Stream, error)                                 { return 1, nil }
func (c *nullCard) NewYieldingStream() (driver.Stream, error)                         { return 1, nil }
func (c *nullCard) DestroyStream(driver.Stream) error                                 { return nil }
func (c *nullCard) SyncStream(driver.Stream) error                                    { return nil }
func (c *nullCard) NewEvent() (driver.Event, error)                                   { return 1, nil }
func (c *nullCard) DestroyEvent(driver.Event) error                                   { return nil }
func (c *nullCard) Record(driver.Event, driver.Stream) error                          { return nil }
func (c *nullCard) Wait(driver.Stream, driver.Event) error                            { return nil }
func (c *nullCard) SyncEvent(driver.Event) error                                      { return nil }
func (c *nullCard) EventDone(driver.Event) (bool, error)                              { return true, nil }
func (c *nullCard) Compile(name, _ string) ([]byte, string, error)                    { return []byte(name), "", nil }
func (c *nullCard) Load([]byte) (driver.Module, error)                                { return 1, nil }
func (c *nullCard) Unload(driver.Module) error                                        { return nil }
func (c *nullCard) BeginCapture(driver.Stream) error                                  { return nil }
func (c *nullCard) EndCapture(driver.Stream) (driver.Graph, error)                    { return 1, nil }
func (c *nullCard) LaunchGraph(driver.Graph, driver.Stream) error                     { return nil }
func (c *nullCard) DestroyGraph(driver.Graph) error                                   { return nil }
func (c *nullCard) Close() error                                                      { return nil }
func (c *nullCard) CopyToCard(driver.Ptr, unsafe.Pointer, int, driver.Stream) error   { return nil }
func (c *nullCard) CopyFromCard(unsafe.Pointer, driver.Ptr, int, driver.Stream) error { return nil }

func (c *nullCard) Function(_ driver.Module, name string) (driver.Function, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, name)
	return driver.Function(len(c.names)), nil
}

func (c *nullCard) CopyOnCard(driver.Ptr, driver.Ptr, int, driver.Stream) error {
	c.others++
	return nil
}

func (c *nullCard) Zero(driver.Ptr, int, driver.Stream) error {
	c.others++
	return nil
}

func (c *nullCard) Launch(driver.Function, driver.Dim, driver.Dim, int, driver.Stream, []driver.Arg) error {
	c.launches++
	return nil
}

func (c *nullCard) PlanMatmul(s driver.MatmulSpec, _ int) (driver.Matmul, error) {
	c.plans = append(c.plans, s)
	return nullMatmul{c}, nil
}
func (c *nullCard) PlanConv(driver.ConvSpec) (driver.Conv, error) { return nullConv{c}, nil }

type nullMatmul struct{ c *nullCard }

func (m nullMatmul) Workspace() int { return 0 }
func (m nullMatmul) Close() error   { return nil }
func (m nullMatmul) Run(_, _, _, _, _ driver.Ptr, _ driver.Stream) error {
	m.c.matmuls++
	return nil
}

type nullConv struct{ c *nullCard }

func (m nullConv) Workspace() int { return 0 }
func (m nullConv) Close() error   { return nil }
func (m nullConv) Run(_, _, _, _ driver.Ptr, _ driver.Stream) error {
	m.c.convs++
	return nil
}
