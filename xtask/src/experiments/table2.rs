//! E6, robustness (Table 2): which of Table 1's nets reads corrupted images best?

use super::{Experiment, classification, table1};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "table2",
    paper: "Table 2 (E6): Table 1's trained nets on corrupted images (CIFAR-100-C)",
    data: "corrupts the built-in test images (frost needs photos: --set frost=FOLDER); the paper's scale needs CIFAR-100-C unpacked \
           (--data FOLDER) and the nets of table1 (--scale paper, or --set checkpoints=FOLDER)",
    demo: "about 3 minutes, of which 2 train the nets of table1 if they are not there yet",
    trials: |request| classification::robustness_trials(&table1::STUDY, request),
    has_trials: true,
    can_shorten: false,
    run: |session| classification::robustness(&table1::STUDY, session),
    report: |folder, scale| classification::robustness_report(&table1::STUDY, folder, scale),
};
