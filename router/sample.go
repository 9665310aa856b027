package router

import "github.com/stint-ml/stint/platform"

// sample tells how many requests are under way now for each instance of every variant that has any. Whoever reads it takes a
// variant without a value for one without requests: idle endpoints cost nothing here either.
func (r *Router) sample() (data []platform.Datum) {
	now := r.clock.Now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	for name, e := range r.endpoints {
		for _, v := range e.variants {
			busy, provisioned := v.underWay()
			if busy == 0 {
				continue
			}
			of := func(metric string, instances int) {
				data = append(data, platform.Datum{
					Series: platform.Series{Namespace: namespace, Name: metric, Dimensions: map[string]string{"EndpointName": name, "VariantName": v.name}},
					At:     now, Unit: "None", Value: float64(busy) / float64(max(instances, 1)),
				})
			}
			of("ConcurrentRequestsPerModel", len(v.targets))
			if provisioned > 0 {
				of("ServerlessProvisionedConcurrencyUtilization", provisioned)
			}
		}
	}
	return data
}

// underWay counts the requests of a variant, those that wait for an instance among them, and the instances that are provisioned.
func (v *variant) underWay() (busy, provisioned int) {
	if v.flow != nil {
		v.flow.mu.Lock()
		defer v.flow.mu.Unlock()
		return v.flow.open, len(v.flow.Provisioned)
	}
	for _, t := range v.targets {
		busy += int(t.busy.Load())
	}
	return busy, 0
}
