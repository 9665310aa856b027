package price

// servers is the least number of servers at which requests wait no longer, on average, than they are worked on, so that the
// busiest time no more than doubles the time to an answer; 0 when that is above most. Requests come at random and their work
// varies like a coin's tosses: the M/M/c queue of A. K. Erlang (1917). Its probability of waiting follows from the recursion
// of the loss formula, B(c) = aB(c−1) ÷ (c + aB(c−1)), and the mean wait is C ÷ (c − a) times the work of a request.
// Work that varies less waits less.
func servers(erlangs float64, most int64) int64 {
	lost := 1.0
	for c := int64(1); c <= most && erlangs < float64(most); c++ {
		n := float64(c)
		lost = erlangs * lost / (n + erlangs*lost)
		if n <= erlangs {
			continue
		}
		waits := lost * n / (n - erlangs*(1-lost))
		if waits <= n-erlangs {
			return c
		}
	}
	return 0
}

// lossless is the least number of servers of which a request finds none free with at most the probability given, by the same
// loss formula; 0 when that is above most.
func lossless(erlangs, probability float64, most int64) int64 {
	lost := 1.0
	for c := int64(1); c <= most; c++ {
		lost = erlangs * lost / (float64(c) + erlangs*lost)
		if lost <= probability {
			return c
		}
	}
	return 0
}
