package nn

// Starter is a session that evaluates while the program does something else.
// Started evaluations run one after the other, in the order of Start, so that
// what computes goes on to the next batch while the program looks at the scores
// of the last:
//
//	Start(0); Start(1); Forward(0); Start(2); Forward(1); ...
type Starter interface {
	// Start begins the evaluation of a slot's batch and returns; Forward of the
	// slot then waits for its result, and no more. The feed is the session's until
	// then. Steps may be between, but Penultimate may not be asked for while
	// another evaluation is started. Sync waits for those that are and forgets them.
	Start(slot int) error
}
