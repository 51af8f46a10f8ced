use super::schemas::Schemas;
use api::Problem;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What one route takes and gives, as its handler's parts tell it.
pub(crate) struct Operation<'a> {
    schemas: &'a mut Schemas,
    /// The parts of the address that stand in braces.
    places: Vec<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    is_for_bearers: bool,
}

/// What a status means, and the name of its answer in the document.
const PROBLEMS: [(u16, &str, &str); 13] = [
    (400, "Malformed", "The request isn't what this document says."),
    (401, "Unauthorised", "No token, or none that the hub knows."),
    (402, "Insufficient", "An account doesn't hold what this takes."),
    (
        403,
        "Forbidden",
        "The policy doesn't allow it; `policies` names what decided.",
    ),
    (404, "NotFound", "Something that the request names isn't there."),
    (409, "Conflict", "How things stand doesn't allow it."),
    (413, "TooLarge", "The body is too large."),
    (416, "Beyond", "The range begins after the end."),
    (
        422,
        "Invalid",
        "The request is well formed, and the consortium's rules don't take it.",
    ),
    (
        429,
        "TooMany",
        "This account asks too often, or too many unknown tokens came from this address.",
    ),
    (
        500,
        "Internal",
        "The hub's machine failed: a file or the log can't be read.",
    ),
    (
        502,
        "Provider",
        "The provider that people sign in with doesn't answer, or not as it should.",
    ),
    (503, "Unavailable", "The hub stops, or has stopped."),
];

impl<'a> Operation<'a> {
    pub(super) fn new(path: &'static str, schemas: &'a mut Schemas) -> Self {
        let places = path.split('{').skip(1);
        Self {
            schemas,
            places: places.filter_map(|rest| Some(rest.split_once('}')?.0)).collect(),
            parameters: Vec::new(),
            body: None,
            answers: BTreeMap::new(),
            is_for_bearers: false,
        }
    }

    /// It takes a token.
    pub(super) fn is_for_bearers(&mut self) {
        self.is_for_bearers = true;
        self.may_fail(&[401, 403, 429, 500, 503]);
    }

    /// It may answer with a problem of these statuses.
    pub(crate) fn may_fail(&mut self, statuses: &[u16]) {
        for (status, name, _) in PROBLEMS.iter().filter(|(status, ..)| statuses.contains(status)) {
            let answer = json!({"$ref": format!("#/components/responses/{name}")});
            self.answers.insert(*status, answer);
        }
    }

    /// The parts of the address that stand in braces are a `T`, or of a tuple one each.
    pub(super) fn is_at<T: JsonSchema>(&mut self) {
        self.may_fail(&[400, 404]);
        let of_all = self.schemas.input::<T>();
        let of_each = match of_all.get("prefixItems") {
            Some(Value::Array(items)) => items.clone(),
            _ => vec![of_all],
        };
        for (name, schema) in std::mem::take(&mut self.places).into_iter().zip(of_each) {
            self.parameters
                .push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        }
    }

    /// The fields of `T` stand behind the question mark.
    pub(super) fn asks<T: JsonSchema>(&mut self) {
        self.may_fail(&[400]);
        let of_all = self.schemas.inline_input::<T>();
        let is_required = |name: &str| {
            let required = of_all.get("required").and_then(Value::as_array);
            required.is_some_and(|all| all.iter().any(|it| it == name))
        };
        let fields = of_all.get("properties").and_then(Value::as_object);
        for (name, schema) in fields.into_iter().flatten() {
            let mut schema = without_null(schema.clone());
            let description = schema.as_object_mut().and_then(|it| it.remove("description"));
            self.parameters.push(json!({
                "name": name, "in": "query", "required": is_required(name),
                "description": description, "schema": schema,
            }));
        }
    }

    /// It reads a header.
    pub(crate) fn reads(&mut self, header: &str, schema: &Value, description: &str) {
        self.has_header(header, false, schema, description);
    }

    /// It can't do without a header.
    pub(crate) fn needs(&mut self, header: &str, schema: &Value, description: &str) {
        self.has_header(header, true, schema, description);
    }

    fn has_header(&mut self, header: &str, is_required: bool, schema: &Value, description: &str) {
        self.parameters.push(json!({
            "name": header, "in": "header", "required": is_required,
            "description": description, "schema": schema,
        }));
    }

    /// Its body is JSON.
    pub(super) fn takes<T: JsonSchema>(&mut self) {
        self.may_fail(&[400, 413]);
        let schema = self.schemas.input::<T>();
        self.body = Some(json!({"required": true, "content": {"application/json": {"schema": schema}}}));
    }

    /// Its body is bytes.
    pub(crate) fn takes_bytes(&mut self) {
        self.takes_bytes_as("application/octet-stream");
    }

    /// The same under another media type, or just as bytes.
    pub(crate) fn takes_bytes_as(&mut self, media: &str) {
        self.body = Some(json!({"required": true, "content": {media: {}, "application/octet-stream": {}}}));
    }

    /// It answers with JSON, and these headers.
    pub(crate) fn gives<T: JsonSchema>(&mut self, headers: &[&str]) {
        let schema = self.schemas.output::<T>();
        self.answer(200, "As asked.", Some(("application/json", schema)), headers);
    }

    /// It makes something, and answers with it in JSON and these headers.
    pub(crate) fn makes<T: JsonSchema>(&mut self, headers: &[&str]) {
        let schema = self.schemas.output::<T>();
        self.answer(201, "It is there.", Some(("application/json", schema)), headers);
    }

    /// It answers with something of a media type, and these headers.
    pub(crate) fn answer(
        &mut self,
        status: u16,
        description: &str,
        content: Option<(&str, Value)>,
        headers: &[&str],
    ) {
        let mut answer = json!({"description": description});
        if let Some((media, schema)) = content {
            answer["content"] = json!({media: {"schema": schema}});
        }
        for name in headers {
            answer["headers"][name] = json!({"schema": {"type": "string"}});
        }
        self.answers.insert(status, answer);
    }

    pub(super) fn into_json(self) -> Value {
        let answers = self.answers.into_iter();
        let answers: Map<String, Value> = answers.map(|(status, it)| (status.to_string(), it)).collect();
        let security = if self.is_for_bearers {
            json!([{"token": []}, {"session": []}])
        } else {
            json!([])
        };
        let mut told = json!({"tags": [], "summary": "", "operationId": "", "security": security});
        if !self.parameters.is_empty() {
            told["parameters"] = json!(self.parameters);
        }
        if let Some(body) = self.body {
            told["requestBody"] = body;
        }
        told["responses"] = Value::Object(answers);
        told
    }
}

/// The answers that operations share: problems of RFC 9457.
pub(super) fn problems(schemas: &mut Schemas) -> Value {
    let schema = schemas.output::<Problem>();
    let answers = PROBLEMS.iter().map(|(status, name, description)| {
        let mut answer = json!({
            "description": description,
            "content": {"application/problem+json": {"schema": schema}},
        });
        let header = match status {
            401 => Some(("WWW-Authenticate", json!({"type": "string"}))),
            429 => Some(("Retry-After", json!({"type": "integer", "minimum": 0}))),
            _ => None,
        };
        if let Some((name, schema)) = header {
            answer["headers"] = json!({name: {"schema": schema}});
        }
        ((*name).to_owned(), answer)
    });
    Value::Object(answers.collect())
}

/// What stands behind a question mark may be left out, and can't be null.
fn without_null(mut schema: Value) -> Value {
    let is_null = |it: &Value| *it == "null" || it["type"] == "null";
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|it| !is_null(it));
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    let Some(Value::Array(options)) = schema.get_mut("anyOf") else {
        return schema;
    };
    options.retain(|it| !is_null(it));
    if let [only] = options.as_slice() {
        let only = only.clone();
        let fields = schema.as_object_mut().expect("it has a field");
        fields.remove("anyOf");
        fields.extend(only.as_object().cloned().unwrap_or_default());
    }
    schema
}
