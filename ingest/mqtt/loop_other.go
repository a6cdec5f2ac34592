//go:build !linux

package mqtt

import "errors"

func newLoops(*Server) ([]loop, error) { return nil, errors.ErrUnsupported }
