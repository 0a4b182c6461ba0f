package wire

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/flow"
)

// ErrEndpointClosed is the cause of what fails since the endpoint of this process was
// closed. Callers may use errors.Is.
var ErrEndpointClosed = errors.New("shuffle/wire: the endpoint is closed")

// broken is the failure of a partition whose connection is gone. It is nobody's fault here,
// and another attempt may find the peer well.
func broken(id PartitionID, peer string, cause error) *flow.Failure {
	return &flow.Failure{Domain: flow.DomainExternal, Retryable: true, Cause: cause,
		Message: fmt.Sprintf("shuffle/wire: %s: the connection with %s: %v", id, peer, cause)}
}

// refused is the failure of a partition that the other side does not want as it is.
func refused(id PartitionID, peer, reason string) *flow.Failure {
	return &flow.Failure{Domain: flow.DomainInternal,
		Message: fmt.Sprintf("shuffle/wire: %s: refused by %s: %s", id, peer, reason)}
}
