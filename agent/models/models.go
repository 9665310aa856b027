// Package models keeps many models behind one container: it stands between callers and the container of a multi-model endpoint's
// instance, fetches and loads the model that a request names, unloads those that were not asked for the longest time when memory
// ends, and passes requests and answers on as they come.
//
// It speaks the container's side of SageMaker's contract for multi-model containers (POST and GET /models, GET and DELETE
// /models/NAME, POST /models/NAME/invoke), which the model server of shim and any other executable may serve. How archives are
// fetched and figures delivered is the agent's matter; which instance a model is asked for at is the router's.
package models

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stint-ml/stint/agent"
	"github.com/stint-ml/stint/platform"
)

const (
	// AWS lets a caller wait 60 s in all, and goes on with the loading for up to 360 s.
	waitTime = 55 * time.Second // for a model; the answer "not yet" has to come before the invocation's own time is over
	loadTime = 360 * time.Second

	unloadTime = 40 * time.Second // what runs may take as long as the container's own drain
	fetches    = 4                // archives that are fetched at once

	lookEvery = 10 * time.Second // at what models have come to use, and to report figures

	budgetPercent = 80 // of the container's memory for models: the rest is the server's, and room for what a request needs
)

// state is where a model stands. One that is not loaded at all is not in the table.
type state int

const (
	loading state = iota
	loaded
	unloading
)

// model is one model that is loaded, or on its way there or back. Its fields but the names are the table's to guard.
type model struct {
	name string // as callers know it
	id   string // as the container knows it

	state   state
	changed chan struct{} // closed when the loading or the unloading is over
	failure error         // why it could not be loaded
	busy    int           // requests under way, or waiting while it is being loaded
	bytes   int64         // of memory: what is set aside while it is being loaded, then what it said to use
	used    bool          // since its memory was asked for last
	place   *list.Element // in recent, while it is loaded
}

// table knows the models of one container.
type table struct {
	agent.ModelSource
	container *container
	files     *files
	figures   figures

	life  context.Context // loading goes on when the caller who began it has gone
	end   context.CancelFunc
	works sync.WaitGroup
	slots chan struct{} // of fetches

	mu      sync.Mutex
	models  map[string]*model // by name
	recent  *list.List        // of loaded models, the one that was asked for last first
	moved   chan struct{}     // closed, and made anew, when a model has become idle or has changed its state, if anyone listens
	waiting int               // who listens
	sizes   map[string]int64  // memory that models took when they were loaded last, by name
}

func newTable(source agent.ModelSource) *table {
	t := &table{
		ModelSource: source, container: newContainer(source.Container), slots: make(chan struct{}, fetches),
		models: map[string]*model{}, recent: list.New(), moved: make(chan struct{}), sizes: map[string]int64{},
	}
	t.files, t.figures.clock = newFiles(source.Folder), source.Clock
	t.life, t.end = context.WithCancel(context.Background())
	t.works.Add(1)
	go t.look()
	return t
}

// close gives up what is on its way. Requests may still come and go: they begin nothing any more.
func (t *table) close() {
	t.mu.Lock()
	t.end() // with the lock, so that nothing is begun beside the waiting
	t.mu.Unlock()
	t.works.Wait()
	t.container.close()
}

// identity is how the container knows a model: nothing of the caller's name becomes part of a path.
func identity(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// archive is where a model's archive is. The prefix counts as a folder whether it ends so or not.
func (t *table) archive(name string) platform.URI {
	return platform.URI(strings.TrimSuffix(string(t.Prefix), "/") + "/" + strings.TrimPrefix(name, "/"))
}

// folder is where a model is unpacked, as the contract has it.
func (t *table) folder(m *model) string { return filepath.Join(t.Folder, m.id, "model") }

// acquire gives a model that is loaded, and loads it if need be. Release must be called for it.
func (t *table) acquire(ctx context.Context, name string) (*model, error) {
	if m := t.ready(name); m != nil {
		t.figures.hit(true)
		return m, nil
	}
	t.figures.hit(false)
	from := t.Clock.Now()
	late, stop := t.Clock.After(waitTime)
	defer stop()
	for {
		m, changed, ours := t.join(name)
		if changed == nil {
			t.figures.add(waitTimes, t.Clock.Now().Sub(from))
			return m, nil
		}
		select {
		case <-changed:
			switch {
			case ours && m.failure != nil:
				return nil, m.failure
			case ours:
				t.figures.add(waitTimes, t.Clock.Now().Sub(from))
				return m, nil
			}
		case <-late:
			t.leave(m, ours)
			return nil, refuse(platform.RefusedUnready, "Model %s is not ready for inference yet: it is still being downloaded or loaded. Wait and try your request again.", name)
		case <-ctx.Done():
			t.leave(m, ours)
			return nil, ctx.Err()
		}
	}
}

// ready gives a model that is loaded, nil when it is not.
func (t *table) ready(name string) *model {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.models[name]
	if m == nil || m.state != loaded {
		return nil
	}
	t.enter(m)
	return m
}

// enter counts a request to a loaded model; the lock is held.
func (t *table) enter(m *model) {
	m.busy, m.used = m.busy+1, true
	t.recent.MoveToFront(m.place)
}

// join lines up for a model. A nil channel: it is loaded. Ours: the caller is counted among its requests, so that it is not
// unloaded before they come to their turn. Of a model that is just being unloaded nothing more is to be had.
func (t *table) join(name string) (m *model, changed chan struct{}, ours bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m = t.models[name]
	switch {
	case m == nil && t.life.Err() != nil:
		gone := make(chan struct{})
		close(gone)
		return &model{failure: t.life.Err()}, gone, true
	case m == nil:
		m = &model{name: name, id: identity(name), changed: make(chan struct{})}
		t.models[name] = m
		t.works.Add(1)
		go t.load(m)
	case m.state == loaded:
		t.enter(m)
		return m, nil, true
	case m.state == unloading:
		return m, m.changed, false
	}
	m.busy++
	return m, m.changed, true
}

// leave is of a caller who waits no more.
func (t *table) leave(m *model, ours bool) {
	if ours {
		t.release(m)
	}
}

// release ends a request.
func (t *table) release(m *model) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.busy--; m.busy > 0 || m.state != loaded || t.life.Err() != nil {
		return
	}
	if !t.Cached {
		t.retire(m)
		return
	}
	t.tell()
}

// forget drops a model that the container has lost.
func (t *table) forget(m *model) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.state != loaded || t.models[m.name] != m {
		return
	}
	t.recent.Remove(m.place)
	delete(t.models, m.name)
	m.state = unloading // for those whose requests are under way: nobody else finds it
	t.files.idle(m.name)
	t.tell()
}

// tell wakes whoever waits for room; the lock is held.
func (t *table) tell() {
	if t.waiting > 0 {
		close(t.moved)
		t.moved = make(chan struct{})
	}
}
