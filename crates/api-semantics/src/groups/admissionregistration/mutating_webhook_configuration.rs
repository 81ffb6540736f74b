//! MutatingWebhookConfiguration: webhooks that may change objects.

use crate::defaults::{each, set};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    default: |o| {
        each(o, "webhooks", |w| {
            super::webhook_defaults(w);
            set(w, "reinvocationPolicy", "Never");
        });
    },
    unconditional_update: false,
    validate: |o, e| super::webhooks::validate(o, true, e),
    ..Kind::CLUSTER
};
