package nodeagent

// trigger coalesces kicks: any number of them before the next receive count as one.
type trigger chan struct{}

func newTrigger() trigger { return make(trigger, 1) }

// kick never blocks.
func (t trigger) kick() {
	select {
	case t <- struct{}{}:
	default:
	}
}
