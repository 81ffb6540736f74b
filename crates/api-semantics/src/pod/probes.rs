//! Validation of probes and lifecycle handlers.

use super::containers::Scope;
use crate::checks::{non_negative, one_of, port_number, port_or_name, required};
use crate::field::{Errors, Field};
use crate::names;

const HANDLER: &str = "must specify a handler type";
const ONE_HANDLER: &str = "may not specify more than 1 handler type";

pub(super) fn validate(container: &Field, errors: &mut Errors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.get(name);
        if !probe.exists() {
            continue;
        }
        one_probe(&probe, errors);
        let grace = probe.get("terminationGracePeriodSeconds");
        if name == "readinessProbe" {
            if grace.exists() {
                errors.invalid(&grace, "must not be set for readinessProbes");
            }
        } else {
            let threshold = probe.get("successThreshold");
            if threshold.int_or_zero() != 1 {
                errors.invalid_int(&threshold, "must be 1");
            }
            if grace.exists() && grace.int_or_zero() <= 0 {
                errors.invalid(&grace, "must be greater than 0");
            }
        }
    }
}

fn one_probe(probe: &Field, errors: &mut Errors) {
    handler(probe, errors);
    for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        non_negative(&probe.get(name), errors);
    }
}

fn handler(handler: &Field, errors: &mut Errors) {
    let mut count = 0;
    for (name, check) in [
        ("exec", exec as fn(&Field, &mut Errors)),
        ("httpGet", http_get),
        ("tcpSocket", tcp_socket),
        ("grpc", grpc),
        ("sleep", |_, _| {}),
    ] {
        let action = handler.get(name);
        if !action.exists() {
            continue;
        }
        count += 1;
        if count > 1 {
            errors.forbidden(&action, ONE_HANDLER);
        } else {
            check(&action, errors);
        }
    }
    if count == 0 {
        errors.required(handler, HANDLER);
    }
}

pub(super) fn lifecycle(container: &Field, scope: &Scope, errors: &mut Errors) {
    let lifecycle = container.get("lifecycle");
    for name in ["postStart", "preStop"] {
        let hook = lifecycle.get(name);
        if !hook.exists() {
            continue;
        }
        handler(&hook, errors);
        let seconds = hook.dig("sleep.seconds");
        if hook.has("sleep") {
            let most = scope.grace_period.unwrap_or(30);
            if !(0..=most).contains(&seconds.int_or_zero()) {
                let sleep = hook.get("sleep");
                errors.invalid_as(
                    &sleep,
                    seconds.int_or_zero(),
                    format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({most}). Enable AllowPodLifecycleSleepActionZeroValue feature gate for zero sleep."
                    ),
                );
            }
        }
    }
    let signal = lifecycle.get("stopSignal");
    if signal.exists() && !signal.str().starts_with("SIG") {
        errors.not_supported(&signal, &[]);
    }
}

fn exec(action: &Field, errors: &mut Errors) {
    required(&action.get("command"), errors);
}

fn http_get(action: &Field, errors: &mut Errors) {
    required(&action.get("path"), errors);
    port_or_name(&action.get("port"), errors);
    one_of(&action.get("scheme"), &["HTTP", "HTTPS"], errors);
    let headers = action.get("httpHeaders");
    for header in headers.items() {
        for message in names::http_header_name(header.str_of("name")) {
            errors.invalid_as(&headers, header.str_of("name"), message);
        }
    }
}

fn tcp_socket(action: &Field, errors: &mut Errors) {
    port_or_name(&action.get("port"), errors);
}

fn grpc(action: &Field, errors: &mut Errors) {
    port_number(&action.get("port"), errors);
}
