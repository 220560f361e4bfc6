package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"sdnn/ingest/yt8m"
)

const (
	chunksPerWorker = 3 // one being filled, one under way, one being written
	maxWorkers      = 16
)

// A stream carries the chunks of one file, in order. It is closed behind the
// last; err is set before that.
type stream struct {
	chunks chan *chunk
	err    error
}

// A pipeline parses files in parallel and gives their chunks to one consumer in
// the order of the files.
type pipeline struct {
	files     []inputFile
	classes   int
	skipBad   bool
	chunkRows int
	streams   []stream
	next      atomic.Int64 // file to be taken by the next free worker
}

// run calls consume with every chunk, from one goroutine, in order; file is the
// number of the chunk's file and last tells that it is the file's last. It
// returns the first error in the order of the input, whichever worker met one
// first, or that of ctx. All goroutines have ended when it returns.
func (p *pipeline) run(ctx context.Context, threads int, consume func(file int, c *chunk, last bool) error) error {
	ctx, cancel := context.WithCancel(ctx)
	p.streams = make([]stream, len(p.files))
	for i := range p.streams {
		// A worker has chunksPerWorker chunks, so its sends never block.
		p.streams[i].chunks = make(chan *chunk, chunksPerWorker)
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	for range min(threads, len(p.files), maxWorkers) {
		workers.Go(func() { p.work(ctx) })
	}
	for i := range p.streams {
		if err := p.drain(ctx, i, consume); err != nil {
			return err
		}
	}
	return nil
}

// drain consumes the stream of file i. It holds one chunk back, to know the last.
func (p *pipeline) drain(ctx context.Context, i int, consume func(int, *chunk, bool) error) error {
	s := &p.streams[i]
	give := func(c *chunk, last bool) error {
		err := consume(i, c, last)
		c.home <- c
		return err
	}
	var held *chunk
	for {
		select {
		case c, more := <-s.chunks:
			if held != nil {
				if err := give(held, !more && s.err == nil); err != nil {
					return err
				}
			}
			if !more {
				return s.err
			}
			held = c
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// work parses files until there are none left.
func (p *pipeline) work(ctx context.Context) {
	free := make(chan *chunk, chunksPerWorker)
	for range chunksPerWorker {
		free <- newChunk(p.chunkRows, free)
	}
	w := worker{pipeline: p, free: free, videos: newVideoReader(p.classes)}
	for {
		i := int(p.next.Add(1)) - 1
		if i >= len(p.files) || ctx.Err() != nil {
			return
		}
		s := &p.streams[i]
		s.err = w.parse(ctx, p.files[i], s.chunks)
		close(s.chunks)
	}
}

// A worker is the state of one parsing goroutine.
type worker struct {
	*pipeline
	free   chan *chunk
	videos *videoReader
	rec    yt8m.Record
}

// take returns an empty chunk as soon as the consumer has given one back.
func (w *worker) take(ctx context.Context) (*chunk, error) {
	select {
	case c := <-w.free:
		c.reset()
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// parse sends the chunks of one file; at least one, unless it returns an error.
func (w *worker) parse(ctx context.Context, f inputFile, out chan<- *chunk) error {
	if err := w.videos.open(f.path); err != nil {
		return err
	}
	defer w.videos.close()
	c, err := w.take(ctx)
	if err != nil {
		return err
	}
	sent := int64(0) // bytes of the file that earlier chunks stand for
	for {
		if c.full() {
			c.bytes = w.videos.framing.Consumed() - sent
			sent += c.bytes
			out <- c
			if c, err = w.take(ctx); err != nil {
				return err
			}
		}
		c.room(&w.rec)
		err := w.videos.next(&w.rec)
		if err == nil {
			c.add(&w.rec)
			continue
		}
		end, err := w.trouble(f, err, c)
		if end {
			c.bytes = f.size - sent
			out <- c
			return err
		}
	}
}

// trouble decides what an error of the reader means: whether the file ends here,
// and whether the ingest does. What it decides to live with becomes a note in c.
func (w *worker) trouble(f inputFile, err error, c *chunk) (end bool, failure error) {
	if err == io.EOF {
		if w.videos.framing.Record() < 0 {
			c.notes = append(c.notes, Warning{Kind: EmptyFile, Message: f.path + ": the file is empty"})
		}
		return true, nil
	}
	var bad *BadDataError
	if !errors.As(err, &bad) || !w.skipBad || bad.scope == wholeInput {
		return true, err
	}
	if bad.scope == oneRecord {
		c.notes = append(c.notes, Warning{Kind: SkippedRecord, Message: bad.damage() + "; record skipped", Bad: bad})
		return false, nil
	}
	c.notes = append(c.notes, Warning{Kind: CutFile, Bad: bad,
		Message: fmt.Sprintf("%v; the rest of the file, %d bytes, was skipped, as where its records begin is not known", bad, f.size-bad.Offset)})
	return true, nil
}
