package models

import (
	"context"
	"errors"
	"net/http"

	"github.com/stint-ml/stint/platform"
)

// load brings a model into the container, for everyone who waits for it.
func (t *table) load(m *model) {
	defer t.works.Done()
	ctx, cancel := context.WithTimeout(t.life, loadTime)
	defer cancel()
	err := t.bring(ctx, m)
	if err != nil {
		t.Log.Warn("a model cannot be loaded", "model", m.name, "error", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	waited := m.changed
	if err != nil {
		m.failure = err
		delete(t.models, m.name)
		t.files.idle(m.name)
	} else {
		m.state, m.place = loaded, t.recent.PushFront(m)
		if m.busy == 0 && !t.Cached { // whoever wanted it has gone
			t.retire(m)
		}
	}
	close(waited)
	t.tell()
}

// bring does it: the files, room, the container, and what it took.
func (t *table) bring(ctx context.Context, m *model) error {
	if err := t.fetch(ctx, m); err != nil {
		return err
	}
	if err := t.reserve(ctx, m); err != nil {
		return err
	}
	from := t.Clock.Now()
	for {
		err := t.container.load(ctx, m, t.folder(m))
		if err == nil {
			break
		}
		var said *answer
		if !errors.As(err, &said) || said.status != http.StatusInsufficientStorage {
			return t.late(ctx, m, err)
		}
		// The container has no memory: another model has to go first.
		for freed := false; !freed; {
			var there bool
			if freed, there, err = t.displace(ctx, m); err != nil {
				return t.late(ctx, m, err)
			}
			if !there {
				return said
			}
		}
	}
	t.figures.add(loadTimes, t.Clock.Now().Sub(from))
	t.measure(ctx, m)
	t.trim(ctx)
	return nil
}

// late tells a model that takes longer than it may from one that fails.
func (t *table) late(ctx context.Context, m *model, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return refuse(platform.RefusedUnready, "Model %s could not be downloaded and loaded within %d seconds.", m.name, int(loadTime.Seconds()))
	}
	return err
}

// fetch sees that a model's files are there and those that the store has now.
func (t *table) fetch(ctx context.Context, m *model) error {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return t.late(ctx, m, ctx.Err())
	}
	uri := t.archive(m.name)
	from := t.Clock.Now()
	info, err := t.Stat(ctx, uri)
	if err != nil {
		return t.late(ctx, m, unfetched(uri, err))
	}
	if t.files.take(m.name, info.ETag) {
		return nil
	}
	t.files.makeRoom(4 * info.Size) // models shrink to a third or so
	if err := t.Fetch(ctx, uri, t.folder(m)); err != nil {
		return t.late(ctx, m, unfetched(uri, err))
	}
	t.figures.add(fetchTimes, t.Clock.Now().Sub(from))
	t.files.put(m.name, info.ETag, treeBytes(t.folder(m)))
	return nil
}

// unfetched says in AWS's words that a model cannot be had.
func unfetched(uri platform.URI, err error) error {
	switch {
	case platform.Is(err, platform.NotFound), platform.Is(err, platform.Denied):
		bucket, key, _ := uri.Split()
		return refuse(platform.RefusedMissing, "Failed to download model data(bucket: %s, key: %s). Please ensure that there is an object located at the URL "+
			"and that the role passed to CreateModel has permissions to download the model.", bucket, key)
	case platform.Is(err, platform.Invalid):
		return refuse(platform.RefusedMissing, "Unable to extract model data archive: %v", err)
	}
	return refuse(platform.RefusedAway, "%s cannot be fetched now: %v", uri, err)
}

// reserve sets memory aside for a model, and unloads others for it. What a model will use is known from the last time, or taken
// to be what others use; as long as nothing is known at all, models are loaded one after the other.
func (t *table) reserve(ctx context.Context, m *model) error {
	for {
		t.mu.Lock()
		total, most, n := t.memory()
		expected, known := t.sizes[m.name], t.sizes[m.name] > 0
		if !known && n > 0 {
			expected = most / int64(n)
		}
		budget := t.Memory / 100 * budgetPercent
		if t.Memory == 0 || total == 0 || total+expected <= budget && (known || n > 0) {
			m.bytes = max(1, expected)
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		if _, _, err := t.displace(ctx, m); err != nil {
			return t.late(ctx, m, err)
		}
	}
}

// memory is what all models use or have set aside, and what the n loaded ones use; the lock is held.
func (t *table) memory() (total, ofLoaded int64, n int) {
	for _, m := range t.models {
		total += m.bytes
	}
	for e := t.recent.Front(); e != nil; e = e.Next() {
		ofLoaded += e.Value.(*model).bytes
		n++
	}
	return total, ofLoaded, n
}

// displace unloads the model that was not asked for the longest time among those without requests, and has freed memory then. If
// all have some it waits until something changes; there is false when no other model is in memory, or comes to it, at all.
func (t *table) displace(ctx context.Context, but *model) (freed, there bool, err error) {
	t.mu.Lock()
	if victim := t.idlest(but); victim != nil {
		t.retire(victim)
		t.mu.Unlock()
		select {
		case <-victim.changed:
		case <-ctx.Done():
		}
		return true, true, ctx.Err()
	}
	total, _, _ := t.memory()
	if total <= but.bytes {
		t.mu.Unlock()
		return false, false, nil
	}
	t.waiting++
	moved := t.moved
	t.mu.Unlock()
	select {
	case <-moved:
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting--
	return false, true, ctx.Err()
}

// idlest is the model to be unloaded next; nil: all have requests. The lock is held.
func (t *table) idlest(but *model) *model {
	for e := t.recent.Back(); e != nil; e = e.Prev() {
		if m := e.Value.(*model); m.busy == 0 && m != but {
			return m
		}
	}
	return nil
}

// retire begins to unload a model that has no requests; the lock is held.
func (t *table) retire(m *model) {
	t.recent.Remove(m.place)
	m.state, m.changed = unloading, make(chan struct{})
	t.works.Add(1)
	go t.unload(m)
}

// unload takes a model out of the container. One that does not let go is told of, and found out when it is loaded again.
func (t *table) unload(m *model) {
	defer t.works.Done()
	ctx, cancel := context.WithTimeout(t.life, unloadTime)
	defer cancel()
	from := t.Clock.Now()
	if err := t.container.unload(ctx, m); err != nil && t.life.Err() == nil {
		t.Log.Warn("the container does not unload a model", "model", m.name, "error", err)
	}
	t.figures.add(unloadTimes, t.Clock.Now().Sub(from))
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.bytes > 1 {
		t.sizes[m.name] = m.bytes
	}
	delete(t.models, m.name)
	t.files.idle(m.name)
	close(m.changed)
	t.tell()
}

// measure asks what a model uses. A container that does not tell is taken at its 507s alone.
func (t *table) measure(ctx context.Context, m *model) {
	bytes, err := t.container.memory(ctx, m)
	if err != nil || bytes == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	m.bytes, t.sizes[m.name] = bytes, bytes
}

// trim unloads models without requests as long as all together use more than they may.
func (t *table) trim(ctx context.Context) {
	for t.Memory > 0 && ctx.Err() == nil {
		t.mu.Lock()
		total, _, n := t.memory()
		victim := t.idlest(nil)
		if total <= t.Memory/100*budgetPercent || victim == nil || n < 2 {
			t.mu.Unlock()
			return
		}
		t.retire(victim)
		t.mu.Unlock()
		select {
		case <-victim.changed:
		case <-ctx.Done():
		}
	}
}

// look asks now and then what the models that were used have come to use, and reports the figures.
func (t *table) look() {
	defer t.works.Done()
	for {
		due, stop := t.Clock.After(lookEvery)
		select {
		case <-due:
		case <-t.life.Done():
			stop()
			return
		}
		ctx, cancel := context.WithTimeout(t.life, lookEvery)
		for _, m := range t.active() {
			t.measure(ctx, m)
		}
		t.trim(ctx)
		cancel()
		t.report()
	}
}

// active are the loaded models that were used since this was asked last.
func (t *table) active() (active []*model) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.recent.Front(); e != nil; e = e.Next() {
		if m := e.Value.(*model); m.used {
			m.used = false
			active = append(active, m)
		}
	}
	return active
}

// report tells the control plane what was counted.
func (t *table) report() {
	t.mu.Lock()
	n := t.recent.Len()
	t.mu.Unlock()
	if data := t.figures.take(n); len(data) > 0 {
		t.Report(data)
	}
}
