//! ValidatingWebhookConfiguration: webhooks that may refuse requests.

use crate::defaults::each;
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    default: |o| each(o, "webhooks", super::webhook_defaults),
    unconditional_update: false,
    validate: |o, e| super::webhooks::validate(o, false, e),
    ..Kind::CLUSTER
};
