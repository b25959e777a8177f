//! The client's way to the network: each request is counted for the exchange that it is made for.

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

use crate::call::Call;

/// Makes clients that count.
#[derive(Debug, Default)]
pub(crate) struct Counting;

impl HttpConnector for Counting {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Counted(client)))
    }
}

#[derive(Debug)]
struct Counted(HttpClient);

#[async_trait]
impl HttpService for Counted {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Some(call) = Call::current() else { return self.0.execute(request).await };
        let target = format!("{} {}", request.method(), request.uri());
        // Of this kind, it is not tried again.
        call.begin(target).map_err(|empty| HttpError::new(HttpErrorKind::Unknown, empty))?;
        let answer = self.0.execute(request).await;
        match &answer {
            Ok(response) => call.ended(Some(response.status().as_u16()), response.status().to_string()),
            Err(error) => call.ended(None, hearth_common::error::chain(error)),
        }
        answer
    }
}
