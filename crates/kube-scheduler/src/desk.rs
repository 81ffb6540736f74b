//! `/debug/explain?namespace=NS&name=POD[&limit=N]`: why a pod waits, as JSON. Only the scheduler that leads knows.

use std::{sync::Arc, time::Duration};

use component_base::serving::{self, PageFn, full, text};
use http::{Response, StatusCode, header::CONTENT_TYPE};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::scheduler::{Change, Question};

/// Rows of an answer where nothing else is asked for.
const ROWS: usize = 100;
/// The loop answers between two attempts.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes questions to the loop, where there is one.
#[derive(Clone, Default)]
pub(crate) struct Desk(Arc<Mutex<Option<mpsc::UnboundedSender<Change>>>>);

impl Desk {
    /// From now on the loop at the other end answers.
    pub(crate) fn open(&self, questions: mpsc::UnboundedSender<Change>) {
        *self.0.lock() = Some(questions);
    }

    /// The page.
    pub(crate) fn page(&self) -> PageFn {
        let desk = self.clone();
        Box::new(move |query| {
            let (desk, query) = (desk.clone(), query.to_owned());
            Box::pin(async move { desk.answer(&query).await.unwrap_or_else(|refusal| refusal) })
        })
    }

    async fn answer(&self, query: &str) -> Result<Response<serving::Body>, Response<serving::Body>> {
        let refuse = |code: StatusCode, why: String| text(code, why + "\n");
        let parameter = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let Some(name) = parameter("name").filter(|name| !name.is_empty()) else {
            return Err(refuse(StatusCode::BAD_REQUEST, "name: which pod?".to_owned()));
        };
        let rows = match parameter("limit").map(|limit| limit.parse()) {
            None => ROWS,
            Some(Ok(rows)) => rows,
            Some(Err(_)) => return Err(refuse(StatusCode::BAD_REQUEST, "limit: no number".to_owned())),
        };
        let namespace = parameter("namespace").unwrap_or_else(|| "default".to_owned());
        let key = format!("{namespace}/{name}");
        let (answer, answered) = oneshot::channel();
        let idle =
            || refuse(StatusCode::SERVICE_UNAVAILABLE, "this scheduler does not lead: ask the one that does".into());
        let questions = self.0.lock().clone().ok_or_else(idle)?;
        questions.send(Change::Explain(Question { key: key.clone(), rows, answer })).map_err(|_| idle())?;
        let explanation = match tokio::time::timeout(PATIENCE, answered).await {
            Err(_) => return Err(refuse(StatusCode::GATEWAY_TIMEOUT, "the scheduler is busy".to_owned())),
            Ok(Err(_)) => return Err(idle()),
            Ok(Ok(None)) => {
                return Err(refuse(StatusCode::NOT_FOUND, format!("pod {key:?} does not wait for this scheduler")));
            }
            Ok(Ok(Some(explanation))) => explanation,
        };
        let failed = |error: serde_json::Error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        let body = serde_json::to_vec(&explanation).map_err(failed)?;
        let mut response = Response::new(full(body));
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::{config::ProfileConfig, explain, framework::Profile};

    async fn ask(desk: &Desk, query: &str) -> (u16, String) {
        let response = desk.page()(query).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn only_the_leader_answers_and_only_about_pods_that_wait() {
        let desk = Desk::default();
        assert_eq!(ask(&desk, "").await, (400, "name: which pod?\n".to_owned()));
        assert_eq!(ask(&desk, "name=p&limit=many").await, (400, "limit: no number\n".to_owned()));
        assert_eq!(ask(&desk, "name=p").await.0, 503);
        let (sender, mut inbox) = mpsc::unbounded_channel();
        desk.open(sender);
        let answering = tokio::spawn(async move {
            while let Some(Change::Explain(question)) = inbox.recv().await {
                let pod =
                    serde_json::json!({"metadata": {"name": "p", "namespace": "n s"}, "spec": {"containers": []}});
                let pod = crate::cache::PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()));
                let profile = Profile::new(&ProfileConfig::default(), 0).unwrap();
                let known = (question.key == "n s/p")
                    .then(|| explain::explain(&profile, &Default::default(), &pod, question.rows));
                let _gone = question.answer.send(known);
            }
        });
        assert_eq!(
            ask(&desk, "name=q").await,
            (404, "pod \"default/q\" does not wait for this scheduler\n".to_owned())
        );
        let (code, body) = ask(&desk, "namespace=n%20s&name=p").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((code, body["pod"].as_str(), body["nodes"].as_u64()), (200, Some("n s/p"), Some(0)));
        answering.abort();
        assert!(answering.await.is_err());
        assert_eq!(ask(&desk, "name=p").await.0, 503, "it does not lead any more");
    }
}
