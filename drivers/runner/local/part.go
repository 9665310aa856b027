package local

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/stint-ml/stint/platform"
)

// Part makes a folder that is to be the /opt/ml of one of several containers beside each other, which are counted from 1. All
// of the job sees it as root; a process that is started by a thread that has called view sees it at /opt/ml too. The thread is
// good for nothing else from then on.
func (b *Bootstrap) Part(number int) (root string, view func() error, err error) {
	root = fmt.Sprintf("%s-%d", Root, number)
	own := b.view.inOwn(fmt.Sprintf("%s-%d", mlName, number))
	err = os.MkdirAll(own, 0o755)
	if err == nil {
		err = os.MkdirAll(root, 0o755)
	}
	if err == nil {
		err = bind(own, root)
	}
	if err != nil {
		return "", nil, platform.Errorf(platform.Internal, root, "make a part of the job's view of the machine: %w", err)
	}
	return root, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("leave the job's mounts: %w", err)
		}
		return bind(root, Root)
	}, nil
}
