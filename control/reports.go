package control

import "github.com/stint-ml/stint/platform"

// Unknown gives the reports of a delivery above seq. After a restart an agent may go on above what the record says, as logs
// alone do not touch the record; inside one delivery there is never a gap.
func Unknown(reports []platform.Report, seq int64) ([]platform.Report, error) {
	for i, r := range reports {
		if i > 0 && r.Seq != reports[i-1].Seq+1 {
			return nil, platform.Errorf(platform.Invalid, "", "report %d follows report %d", r.Seq, reports[i-1].Seq)
		}
	}
	for len(reports) > 0 && reports[0].Seq <= seq {
		reports = reports[1:]
	}
	return reports, nil
}
