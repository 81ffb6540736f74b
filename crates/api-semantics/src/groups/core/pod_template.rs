//! PodTemplate: a stored template.

use crate::defaults::ensure;
use crate::kind::Kind;
use crate::pod::defaults::pod_template;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    default: |o| pod_template(ensure(o, "template")),
    validate: |o, e| crate::pod::pod_template(&o.get("template"), e),
    warnings: |n, o, w| crate::pod::warnings::template(n, o, "template", w),
    labels_validated: 3,
    ..Kind::PLAIN
};
