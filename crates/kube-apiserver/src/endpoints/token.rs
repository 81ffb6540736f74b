//! `serviceaccounts/token`: a bound token for a service account.

use std::sync::Arc;

use apiserver::{
    admission::{Attributes, Operation, Reinvocation},
    error::{Error, Result},
    options::WriteOptions,
    respond,
    server::{Body, Call, Endpoint, read_body},
    verbs,
};
use async_trait::async_trait;
use http::{Response, StatusCode};

use crate::auth::Auth;

pub(super) struct Token(pub(super) Arc<Auth>);

#[async_trait]
impl Endpoint for Token {
    async fn serve(&self, call: Call) -> Result<Response<Body>> {
        let Call { request, info, user, query, resource, warnings, core } = call;
        let (parts, body) = request.into_parts();
        let accepted = respond::negotiate(&parts.headers, &query, false)?;
        let options = WriteOptions::parse(&query, "CreateOptions")?;
        let body = read_body(body).await?;
        let format =
            core.catalog.format("authentication.k8s.io", "v1", "TokenRequest").ok_or_else(Error::no_such_path)?;
        let wanted = verbs::decode_object(&format, &parts.headers, &body, options.field_validation, &warnings)?;
        let attributes = Attributes {
            operation: Operation::Create,
            resource: &resource,
            subresource: "token",
            namespace: &info.namespace,
            name: &info.name,
            generate_name: "",
            old: None,
            user: &user,
            dry_run: options.dry_run,
            warnings: &warnings,
            kind: Some(["authentication.k8s.io", "v1", "TokenRequest"]),
            reinvocation: Reinvocation::default(),
        };
        core.admission.validate(&attributes, &wanted).await?;
        let token = self.0.token_requests.create(&info.namespace, &info.name, wanted).await?;
        respond::object(StatusCode::CREATED, &resource, &format, &accepted, &query, &token)
    }
}
