//! The group `events.k8s.io`.

mod event;

use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[("Event", None, &event::KIND)];

/// The two versions of events call the same fields differently; errors use the names of the old version.
pub(crate) struct EventFields {
    /// Core v1, whose rules are looser.
    pub(crate) legacy: bool,
    pub(crate) object: &'static str,
    pub(crate) controller: &'static str,
    pub(crate) message: &'static str,
}

/// What upstream checks of both versions; `events.k8s.io` has fixed words on top.
pub(crate) fn validate(event: &Field, names_: &EventFields, errors: &mut Errors) {
    common(event, names_, errors);
    if names_.legacy {
        return;
    }
    if event.get("eventTime").is_zero() {
        errors.required(&event.get("eventTime"), "");
    }
    let kind = event.get("type");
    if !["Normal", "Warning"].contains(&kind.str()) {
        errors.invalid_as(&kind, "", format!("has invalid value: {}", kind.str()));
    }
}

/// Namespaces must agree; an event with an event time says who reports what.
fn common(event: &Field, names_: &EventFields, errors: &mut Errors) {
    let object = event.get(names_.object);
    let shown = Field::at(object.get("namespace").value(), event.path().child("involvedObject").child("namespace"));
    let own = event.get("metadata").str_of("namespace");
    let old_style = event.get("eventTime").is_zero();
    let agree = match (shown.str(), old_style) {
        ("", true) => ["", "default"].contains(&own),
        (other, true) => other == own,
        ("", false) => ["default", "kube-system"].contains(&own),
        (_, false) => true,
    };
    if !agree {
        errors.invalid_str(&shown, "does not match event.namespace");
    }
    if !old_style {
        reporter(event, names_, errors);
    }
}

fn reporter(event: &Field, names_: &EventFields, errors: &mut Errors) {
    let controller = Field::at(event.get(names_.controller).value(), event.path().child("reportingController"));
    if controller.str().is_empty() {
        errors.required(&controller, "");
    }
    errors.invalid_each(&controller, names::qualified_name(controller.str()));
    for name in ["reportingInstance", "action", "reason"] {
        let field = event.get(name);
        if field.str().is_empty() {
            errors.required(&field, "");
        }
        at_most(&field, 128, errors);
    }
    let message = Field::at(event.get(names_.message).value(), event.path().child("message"));
    at_most(&message, 1024, errors);
}

fn at_most(field: &Field, max: usize, errors: &mut Errors) {
    if field.len() > max {
        errors.invalid_as(field, "", format!("can have at most {max} characters"));
    }
}

/// A new-style event never changes but in its series.
pub(crate) fn validate_change(new: &Field, old: &Field, names_: &EventFields, errors: &mut Errors) {
    common(new, names_, errors);
    if names_.legacy {
        return;
    }
    let shown = [
        (names_.object, "involvedObject"),
        // Upstream lists the reason twice.
        ("reason", "reason"),
        ("reason", "reason"),
        (names_.message, "message"),
        (if names_.legacy { "source" } else { "deprecatedSource" }, "source"),
        (if names_.legacy { "firstTimestamp" } else { "deprecatedFirstTimestamp" }, "firstTimestamp"),
        (if names_.legacy { "lastTimestamp" } else { "deprecatedLastTimestamp" }, "lastTimestamp"),
        (if names_.legacy { "count" } else { "deprecatedCount" }, "count"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        (names_.controller, "reportingController"),
        ("reportingInstance", "reportingInstance"),
        ("type", "type"),
    ];
    for (own, upstream) in shown {
        let field = Field::at(new.get(own).value(), new.path().child(upstream));
        if own == names_.object {
            let empty = serde_json::json!({});
            let shown = if field.exists() { field } else { Field::at(&empty, field.path().clone()) };
            crate::go::immutable(&shown, &old.get(own), "ObjectReference", errors);
        } else {
            let changed = !crate::checks::same(&field, &old.get(own));
            if changed && own == "eventTime" {
                errors.invalid(&field, crate::checks::IMMUTABLE);
            } else {
                crate::checks::immutable(&field, &old.get(own), errors);
            }
        }
    }
}
