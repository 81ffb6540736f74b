//! TokenReview, SubjectAccessReview and the like: answered, never stored.

use std::sync::Arc;

use api_semantics::Part;
use apiserver::{
    error::Result,
    options::WriteOptions,
    registry::{Manager, check_namespace},
    respond,
    server::{Body, Call, Endpoint, read_body},
    verbs,
};
use async_trait::async_trait;
use http::{Response, StatusCode};

use crate::auth::Auth;

/// The kinds that are answered here: (group, resource).
pub(super) const KINDS: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

pub(super) struct Review(pub(super) Arc<Auth>);

#[async_trait]
impl Endpoint for Review {
    async fn serve(&self, call: Call) -> Result<Response<Body>> {
        let options = WriteOptions::parse(&call.query, "CreateOptions")?;
        let writer = verbs::writer(&call, options.dry_run, &options.field_manager);
        let Call { request, info, user, query, resource, warnings, .. } = call;
        let (parts, body) = request.into_parts();
        let accepted = respond::negotiate(&parts.headers, &query, false)?;
        let body = read_body(body).await?;
        let mut review =
            verbs::decode_object(&resource.format, &parts.headers, &body, options.field_validation, &warnings)?;
        check_namespace(&resource, &info.namespace, &mut review)?;
        Manager::new(&resource, &writer, Part::Main, "").record(None, &mut review);
        let answer = self.0.reviews.create(&info.resource, &info.namespace, &user, review).await?;
        respond::object(StatusCode::CREATED, &resource, &resource.format, &accepted, &query, &answer)
    }
}
