"""Published detectors of model extraction, adapted to sets of embedded texts: what ours is measured beside.

Each is fitted on a reference of honest texts and gives one number for a window of texts. Which numbers alarm is the
measuring side's matter: the same thresholds rule for all, from honest windows of the same size (two-sided, since attacks
lie on either side).
"""
