//! The API as OpenAPI 3.1, at `/api/openapi.json`: one line a route, schemas from the structs that are answered
//! (docs/adr/0010). docs/api.md is for people.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AnyOfBuilder, ComponentsBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr, Required, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::shape::{
    AlertJson, Applied, ApplyJson, ArtifactJson, AuditJson, BackfillJson, BacklogJson, CauseJson, ClaimJson, DeadJson, ItemJson,
    JobJson, List, LogJson, MemberJson, NewBackfillJson, NewOperationJson, NewRunJson, NewSilenceJson, NewTokenJson, NodeJson,
    NoticedJson, OccurrenceJson, OperationJson, PauseJson, PluginJson, PluginShownJson, PreviewJson, ProblemJson, PushJson,
    RenewJson, RenewedJson, RerunJson, ResultsJson, RunId, RunJson, SecretJson, SilenceJson, SinkJson, Started, StateJson,
    StateValueJson, TakenJson, TenantJson, TokenJson, ToldJson,
};
use crate::clock::Timestamp;
use crate::domain::item::{ItemCounts, ItemState, Items};
use crate::domain::log::Level;
use crate::error::Problem;
use crate::id::Id;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| serde_json::to_string(&document()).unwrap_or_default());

pub async fn serve() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

fn document() -> OpenApi {
    let mut routes = Routes::default();
    tenants_and_jobs(&mut routes);
    runs(&mut routes);
    recordings(&mut routes);
    items(&mut routes);
    dead_runs(&mut routes);
    alerts(&mut routes);
    server(&mut routes);
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("wl_…").build());
    let components = ComponentsBuilder::new().schemas_from_iter(routes.schemas).security_scheme("token", bearer).build();
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("Windlass").version(env!("CARGO_PKG_VERSION")).build())
        .paths(routes.paths)
        .components(Some(components))
        .security(Some([SecurityRequirement::new("token", Vec::<String>::new())]))
        .build()
}

fn tenants_and_jobs(api: &mut Routes) {
    api.get("tenants", "tenants with health and counts of runs").paged().list::<TenantJson>();
    api.get("tenants/{tenant}", "one, with its ceiling").one::<TenantJson>(200);
    api.get("tenants/{tenant}/jobs", "jobs with health, plugin, triggers and next times").paged().list::<JobJson>();
    api.get("tenants/{tenant}/jobs/{job}", "one, with its spec as applied").one::<JobJson>(200);
    api.post("tenants/{tenant}/jobs/{job}/runs", "start a run").takes::<NewRunJson>().started(true);
    api.post("tenants/{tenant}/jobs/{job}/pause", "no new run starts until it is resumed")
        .takes::<PauseJson>()
        .one::<JobJson>(200);
    api.post("tenants/{tenant}/jobs/{job}/resume", "runs start again").one::<JobJson>(200);
    api.post("tenants/{tenant}/jobs/{job}/notices", "a notification, for the next run of its webhook")
        .head("Idempotency-Key")
        .takes::<serde_json::Value>()
        .one::<NoticedJson>(202);
    api.get("tenants/{tenant}/jobs/{job}/occurrences", "what came of its schedules' times, newest first")
        .asks(&[("result", Type::String)])
        .paged()
        .list::<OccurrenceJson>();
    api.post("tenants/{tenant}/jobs/{job}/backfill", "runs for times that have passed; with `dry_run` 200 and what it would do")
        .takes::<NewBackfillJson>()
        .one::<OperationJson>(201)
        .one::<BackfillJson>(200);
    api.post("tenants/{tenant}/jobs/{job}/rollout/{step}", "a new version: `pause`, `resume`, `promote` or `rollback`")
        .asks(&[("retries", Type::String)])
        .one::<JobJson>(200);
    api.get("tenants/{tenant}/jobs/{job}/state", "what its plugin keeps between runs: keys, sizes, versions")
        .paged()
        .list::<StateJson>();
    api.get("tenants/{tenant}/jobs/{job}/state/{key}", "one of them with its value").one::<StateValueJson>(200);
    api.delete("tenants/{tenant}/jobs/{job}/state/{key}", "the next run finds it missing").nothing(204);
    api.get("tenants/{tenant}/backlogs", "what waits at the tenant's targets").paged().list::<BacklogJson>();
    api.get("backlogs", "what waits at the targets of all tenants that the token may see").paged().list::<BacklogJson>();
    api.get("tenants/{tenant}/secrets", "names, versions, times; never values").list::<SecretJson>();
    api.get("tenants/{tenant}/secrets/{name}", "name, version, times").one::<SecretJson>(200);
    api.put("tenants/{tenant}/secrets/{name}", "set it: the body is the value").takes_bytes().one::<SecretJson>(200);
    api.post("tenants/{tenant}/secrets/{name}/rotate", "the same for one that is there").takes_bytes().one::<SecretJson>(200);
}

fn runs(api: &mut Routes) {
    let which = [("state", Type::String), ("job", Type::String)];
    api.get("tenants/{tenant}/runs", "runs, newest first").asks(&which).paged().list::<RunJson>();
    api.get("tenants/{tenant}/runs/{run}", "one, with its attempts").one::<RunJson>(200);
    api.post("tenants/{tenant}/runs/{run}/rerun", "a new run with the old one's input").takes::<RerunJson>().started(false);
    api.post("tenants/{tenant}/runs/{run}/cancel", "200: it is over; 202: it has been asked to stop")
        .one::<RunJson>(200)
        .one::<RunJson>(202);
    api.get("tenants/{tenant}/runs/{run}/logs", "lines, oldest first")
        .asks(&[("attempt", Type::Integer)])
        .paged()
        .one::<LogJson>(200);
    api.get("tenants/{tenant}/runs/{run}/artifacts", "files that the run left behind, by name").list::<ArtifactJson>();
    api.get("tenants/{tenant}/runs/{run}/artifacts/{name}", "one file").bytes("*/*", "its bytes, as an attachment");
}

fn recordings(api: &mut Routes) {
    api.get("tenants/{tenant}/runs/{run}/recording", "what the guest learned, of the newest attempt that has one unless asked")
        .asks(&[("attempt", Type::Integer)])
        .bytes("application/gzip", "JSON lines, for windlass run replay");
    api.get("plugins/{digest}/component", "the component itself").bytes("application/wasm", "as it was pushed");
}

fn items(api: &mut Routes) {
    api.get("tenants/{tenant}/runs/{run}/items", "the run's named pieces of work, in their order")
        .asks(&[("state", Type::String)])
        .paged()
        .list::<ItemJson>();
    let job = |verb: &str| format!("tenants/{{tenant}}/jobs/{{job}}/items/{verb}");
    api.post(&job("claim"), "a worker outside takes open items for 30 s").takes::<ClaimJson>().list::<TakenJson>();
    api.post(&job("renew"), "it keeps them for another 30 s").takes::<RenewJson>().one::<RenewedJson>(200);
    api.post(&job("finish"), "what became of them; what comes late changes nothing").takes::<ResultsJson>().list::<ToldJson>();
}

fn dead_runs(api: &mut Routes) {
    let which = ["job", "cause", "group", "since", "until", "words", "state"].map(|name| (name, Type::String));
    api.get("tenants/{tenant}/dead", "dead runs that need a person, newest first").asks(&which).paged().one::<DeadJson>(200);
    api.get("tenants/{tenant}/dead/causes", "the same by cause").asks(&which).list::<CauseJson>();
    api.post("tenants/{tenant}/runs/{run}/discard", "it needs nobody; 24 h to undo it").one::<RunJson>(200);
    api.post("tenants/{tenant}/runs/{run}/undo", "a discarded run needs a person again").one::<RunJson>(200);
    api.get("operations", "operations on many dead runs, newest first").paged().list::<OperationJson>();
    api.post("operations", "begin one; with `dry_run` 200 and what it would do")
        .takes::<NewOperationJson>()
        .one::<OperationJson>(201)
        .one::<PreviewJson>(200);
    api.get("operations/{id}", "how far it is").one::<OperationJson>(200);
    api.post("operations/{id}/cancel", "no further run").one::<OperationJson>(200);
    api.post("operations/{id}/undo", "a new one that brings back what this one discarded").one::<OperationJson>(201);
}

fn alerts(api: &mut Routes) {
    let of = [("tenant", Type::String)];
    api.get("alerts", "what needs a person, the newest first, then what did in the last week")
        .asks(&of)
        .paged()
        .list::<AlertJson>();
    api.get("silences", "of what nobody is told now").asks(&of).list::<SilenceJson>();
    api.post("silences", "nobody is told until then; without `until` 204: told again")
        .takes::<NewSilenceJson>()
        .one::<SilenceJson>(201)
        .nothing(204);
    api.get("sinks", "who is told, and whether they took the last message").asks(&of).list::<SinkJson>();
}

fn server(api: &mut Routes) {
    api.get("nodes", "the processes that share the database, and what each took in the last hour").list::<NodeJson>();
    api.get("audit", "who did what, newest first")
        .asks(&[("tenant", Type::String), ("what", Type::String)])
        .paged()
        .list::<AuditJson>();
    api.get("members", "who can log in").list::<MemberJson>();
    api.put("members/{name}/password", "another password: the body").takes_bytes().nothing(204);
    api.get("tokens", "tokens, without the token").list::<TokenJson>();
    api.post("tokens", "issue one: `token` is shown this once").takes::<NewTokenJson>().one::<TokenJson>(201);
    api.delete("tokens/{id}", "revoke it").nothing(204);
    let called = ["name", "fallback", "version", "tenant"].map(|name| (name, Type::String));
    api.get("plugins", "plugins that the token's tenant may use").list::<PluginJson>();
    api.post("plugins", "the body is the module; it is compiled after the answer")
        .asks(&called)
        .head("X-Windlass-Signature")
        .takes_bytes()
        .one::<PushJson>(202);
    api.get("plugins/{name}", "its versions, newest first, and the jobs that use them").one::<PluginShownJson>(200);
    api.get("pushes", "modules on their way to plugins, newest first, of the last day").list::<PushJson>();
    api.get("pushes/{push}", "how far one is").one::<PushJson>(200);
    api.post("apply", "tenants and jobs as files say, all or none").takes::<ApplyJson>().one::<Applied>(200);
}

#[derive(Default)]
struct Routes {
    paths: utoipa::openapi::Paths,
    schemas: Vec<(String, RefOr<Schema>)>,
}

/// A route that is being written down; it is entered when it is dropped.
struct Route<'a> {
    api: &'a mut Routes,
    method: HttpMethod,
    path: String,
    operation: OperationBuilder,
}

impl Routes {
    fn get(&mut self, path: &str, about: &str) -> Route<'_> {
        self.route(HttpMethod::Get, path, about)
    }

    fn post(&mut self, path: &str, about: &str) -> Route<'_> {
        self.route(HttpMethod::Post, path, about)
    }

    fn put(&mut self, path: &str, about: &str) -> Route<'_> {
        self.route(HttpMethod::Put, path, about)
    }

    fn delete(&mut self, path: &str, about: &str) -> Route<'_> {
        self.route(HttpMethod::Delete, path, about)
    }

    /// The parts of the address are parameters; what is no success is a problem.
    fn route(&mut self, method: HttpMethod, path: &str, about: &str) -> Route<'_> {
        let mut operation = OperationBuilder::new().summary(Some(about));
        for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            operation = operation.parameter(parameter(part, ParameterIn::Path, Type::String));
        }
        let problem = content("application/problem+json", self.schema::<ProblemJson>("ProblemJson"), "not possible");
        Route { api: self, method, path: format!("/api/v1/{path}"), operation: operation.response("default", problem) }
    }

    /// Enters a schema and all that it names; answers a reference to it.
    fn schema<T: ToSchema>(&mut self, name: &str) -> RefOr<Schema> {
        T::schemas(&mut self.schemas);
        self.schemas.push((name.to_owned(), T::schema()));
        RefOr::Ref(Ref::from_schema_name(name))
    }
}

impl Route<'_> {
    fn change(mut self, change: impl FnOnce(OperationBuilder, &mut Routes) -> OperationBuilder) -> Self {
        self.operation = change(std::mem::take(&mut self.operation), self.api);
        self
    }

    fn asks(self, names: &[(&str, Type)]) -> Self {
        let ask =
            |op: OperationBuilder, (name, kind): &(&str, Type)| op.parameter(parameter(name, ParameterIn::Query, kind.clone()));
        self.change(|op, _| names.iter().fold(op, ask))
    }

    fn head(self, name: &str) -> Self {
        self.change(|op, _| op.parameter(parameter(name, ParameterIn::Header, Type::String)))
    }

    fn paged(self) -> Self {
        self.asks(&[("after", Type::String), ("limit", Type::Integer)])
    }

    fn takes<T: ToSchema>(self) -> Self {
        self.change(|op, api| {
            let schema = api.schema::<T>(&T::name());
            let body = ContentBuilder::new().schema(Some(schema)).build();
            op.request_body(Some(RequestBodyBuilder::new().content("application/json", body).build()))
        })
    }

    fn takes_bytes(self) -> Self {
        let body = RequestBodyBuilder::new().content("application/octet-stream", ContentBuilder::new().build());
        self.change(|op, _| op.request_body(Some(body.required(Some(Required::True)).build())))
    }

    fn bytes(self, media_type: &str, about: &str) -> Self {
        let body = ContentBuilder::new().schema(Some(text("bytes"))).build();
        self.change(|op, _| op.response("200", ResponseBuilder::new().description(about).content(media_type, body).build()))
    }

    fn one<T: ToSchema>(self, status: u16) -> Self {
        self.named::<T>(&T::name(), status, "done")
    }

    fn list<T: ToSchema>(self) -> Self {
        let list = format!("{}List", T::name());
        self.change(|op, api| {
            api.schema::<T>(&T::name());
            op
        })
        .named::<List<T>>(&list, 200, "one page")
    }

    /// A run, or with `Prefer: return=minimal` its id.
    fn started(self, keyed: bool) -> Self {
        let names: &[&str] = if keyed { &["Idempotency-Key", "Prefer"] } else { &["Prefer"] };
        let head = |op: OperationBuilder, name: &&str| op.parameter(parameter(name, ParameterIn::Header, Type::String));
        self.change(|op, api| {
            // A generic struct does not enter what it is made with.
            api.schema::<RunJson>(&RunJson::name());
            api.schema::<RunId>(&RunId::name());
            let whole = api.schema::<Started<RunJson>>("StartedRun");
            let id = api.schema::<Started<RunId>>("StartedId");
            let either: Schema = AnyOfBuilder::new().item(whole).item(id).into();
            let answer = |about| content("application/json", either.clone().into(), about);
            let op = names.iter().fold(op, head).response("201", answer("a new run"));
            op.response("200", answer("one that was there: merged or repeated"))
        })
    }

    fn named<T: ToSchema>(self, name: &str, status: u16, about: &str) -> Self {
        self.change(|op, api| {
            let schema = api.schema::<T>(name);
            op.response(status.to_string(), content("application/json", schema, about))
        })
    }

    fn nothing(self, status: u16) -> Self {
        self.change(|op, _| op.response(status.to_string(), ResponseBuilder::new().description("done").build()))
    }
}

impl Drop for Route<'_> {
    fn drop(&mut self) {
        let operation = std::mem::take(&mut self.operation).build();
        let item = PathItem::new(self.method.clone(), operation);
        let paths = std::mem::take(&mut self.api.paths);
        self.api.paths = PathsBuilder::from(paths).path(self.path.clone(), item).build();
    }
}

fn parameter(name: &str, place: ParameterIn, kind: Type) -> utoipa::openapi::path::Parameter {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    let schema = ObjectBuilder::new().schema_type(kind).build();
    ParameterBuilder::new().name(name).parameter_in(place).required(required).schema(Some(schema)).build()
}

fn content(media_type: &str, schema: RefOr<Schema>, about: &str) -> utoipa::openapi::Response {
    ResponseBuilder::new().description(about).content(media_type, ContentBuilder::new().schema(Some(schema)).build()).build()
}

fn text(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(about))
}

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        text("13 letters and digits").pattern(Some("^[0-9A-HJKMNP-TV-Z]{13}$")).into()
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        text("RFC 3339 with milliseconds and Z").into()
    }
}

impl PartialSchema for Level {
    fn schema() -> RefOr<Schema> {
        text("how grave it is").enum_values(Some(["trace", "debug", "info", "warn", "error"])).into()
    }
}

impl PartialSchema for ItemState {
    fn schema() -> RefOr<Schema> {
        text("where an item stands").enum_values(Some(Self::ALL.map(Self::word))).into()
    }
}

impl PartialSchema for Items {
    fn schema() -> RefOr<Schema> {
        text("which items are worked on again").enum_values(Some(["open", "all"])).into()
    }
}

impl PartialSchema for ItemCounts {
    fn schema() -> RefOr<Schema> {
        let count = |object: ObjectBuilder, state: ItemState| {
            object.property(state.word(), ObjectBuilder::new().schema_type(Type::Integer)).required(state.word())
        };
        ItemState::ALL.into_iter().fold(ObjectBuilder::new(), count).into()
    }
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        let line = ObjectBuilder::new().schema_type(Type::Integer).description(Some("1-based"));
        ObjectBuilder::new()
            .property("file", text("where there is one"))
            .property("line", line)
            .property("field", text("dotted path, as in job[0].retry.attempts"))
            .property("message", text("what is wrong, and what would be right"))
            .required("field")
            .required("message")
            .into()
    }
}

impl ToSchema for Id {}
impl ToSchema for Timestamp {}
impl ToSchema for Level {}
impl ToSchema for ItemState {}
impl ToSchema for Items {}
impl ToSchema for ItemCounts {}
impl ToSchema for Problem {}
