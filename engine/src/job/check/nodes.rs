//! Nodes → typed nodes of the plan: fields, forms, expressions, schemas and orders.
//!
//! A node's fields are read whatever stands before it; it is bound where its inputs are. Forms
//! over keys, reduce and join, stand in [`super::keyed`] and [`super::reduce`].

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::{
    MAX_NAME_LENGTH, ProblemCode, Report, Site, expect,
    fields::{Fields, Known},
    graph::{Graph, Vertex},
    join, map,
    operators::{OPERATORS, inputs_of},
    ordered, reduce, relational, sql,
};
use crate::{
    expr::{
        BinaryOp, Expr, Literal, Predicate, SortKey,
        function::{FORMS, Function},
        parse::{self, ParseError, ParseErrorKind},
    },
    plan::{JoinKind, Node, NodeIndex, Op, Order},
};

/// A node as the nodes that read it see it.
#[derive(Clone)]
pub(super) struct Bound {
    /// Its place in the plan.
    pub(super) index: NodeIndex,
    /// Its rows.
    pub(super) schema: SchemaRef,
    /// Their order.
    pub(super) order: Order,
    /// Whether its one column holds tokens, which no comma cuts.
    pub(super) is_tokens: bool,
}

/// That a value is not as it should be, which the report says.
pub(super) struct Reported;

/// Binds the nodes of a graph one after the other.
pub(super) struct Binder<'a, 'r> {
    pub(super) site: &'a Site,
    pub(super) report: &'r mut Report,
    pub(super) nodes: Vec<Node>,
    /// Targets of the writers so far, with their pointers.
    pub(super) outputs: Vec<(std::path::PathBuf, String)>,
}

/// The plan's nodes; where there are problems, those that could be bound.
pub(super) fn bind(graph: &Graph<'_>, site: &Site, report: &mut Report) -> Vec<Node> {
    let mut binder = Binder { site, report, nodes: Vec::new(), outputs: Vec::new() };
    let mut bound: Vec<Option<Bound>> = vec![None; graph.nodes.len()];
    for place in &graph.order {
        if let Some(vertex) = &graph.nodes[*place] {
            let inputs = vertex.inputs.iter().map(|input| bound[*input].clone()).collect();
            bound[*place] = binder.node(vertex, inputs);
        }
    }
    let nodes = binder.nodes;
    // No document runs in part: what is not bound has its problem, or gets one here.
    let unbound = graph.nodes.iter().zip(&bound).filter(|(_, bound)| bound.is_none());
    for vertex in unbound.filter_map(|(vertex, _)| vertex.as_ref()) {
        if report.problems.is_empty() {
            let message = format!("node `{}` cannot be bound", vertex.id);
            report.problem(vertex.fields.pointer(), ProblemCode::BadValue, message);
        }
    }
    nodes
}

impl Binder<'_, '_> {
    /// Checks a node; binds it where its inputs are bound and as many as they must be.
    fn node(&mut self, vertex: &Vertex<'_>, inputs: Option<Vec<Bound>>) -> Option<Bound> {
        let fields = &vertex.fields;
        let known = self.operator(fields)?;
        fields.check_names(known, self.report);
        let is_right = self.check_arity(vertex, known.of);
        let inputs = inputs.filter(|_| is_right);
        let one = inputs.as_ref().and_then(|inputs| inputs.first());
        match known.of {
            "read_csv" | "read_jsonl" | "read_text" | "read_parquet" | "read_arrow" => {
                self.read(vertex, known.of, is_right)
            }
            "map" => map::map(self, vertex, one),
            "filter" => self.filter(vertex, one),
            "flat_map" => self.flat_map(vertex, one),
            "reduce_by_key" => reduce::reduce_by_key(self, vertex, one),
            "join" => join::join(self, vertex, inputs.as_deref()),
            "union" => relational::union(self, vertex, inputs.as_deref()),
            "intersect" => {
                relational::set_operation(self, vertex, inputs.as_deref(), JoinKind::Semi)
            }
            "except" => {
                let how = JoinKind::Anti { null_aware: false };
                relational::set_operation(self, vertex, inputs.as_deref(), how)
            }
            "top_k" => relational::top_k(self, vertex, one),
            "sample" => relational::sample(self, vertex, one),
            "repartition" => relational::repartition(self, vertex, one),
            "cache" => relational::cache(self, vertex, one),
            "unpivot" => relational::unpivot(self, vertex, one),
            "expect" => expect::expect(self, vertex, one),
            "sort" => ordered::sort(self, vertex, one),
            "window" => ordered::window(self, vertex, one),
            "aggregate" => reduce::aggregate(self, vertex, one),
            "distinct" => reduce::distinct(self, vertex, one),
            "pivot" => reduce::pivot(self, vertex, one),
            "limit" => self.limit(vertex, one),
            "sql" => sql::bind(self, vertex, inputs.as_deref()),
            _ => self.write(vertex, known.of, one),
        }
    }

    fn operator(&mut self, fields: &Fields<'_>) -> Option<&'static Known> {
        fields.required("op", self.report)?;
        let op = fields.text("op", self.report)?;
        let known = OPERATORS.iter().find(|known| known.of == op);
        if known.is_none() {
            let names = OPERATORS.iter().map(|operator| operator.of);
            let list = names.clone().collect::<Vec<_>>().join(", ");
            let message = format!("no operator `{op}`; there are {list}");
            let suggestion = parse::nearest(op, names);
            let code = ProblemCode::UnknownOperator;
            self.report.suggest(fields.at("op"), code, message, suggestion);
        }
        known
    }

    /// Whether the node has as many inputs and outputs as its operator takes.
    fn check_arity(&mut self, vertex: &Vertex<'_>, op: &str) -> bool {
        let (takes, has) = (inputs_of(op), vertex.edges_in);
        if vertex.has_lost_edge {
            return has == vertex.inputs.len() && takes.contains(&has);
        }
        if !takes.contains(&has) {
            let (least, most) = takes.clone().into_inner();
            let plural = if least == 1 { "" } else { "s" };
            let least = if least == most { least.to_string() } else { format!("at least {least}") };
            let message = format!("`{op}` takes {least} input{plural}, and has {has}");
            self.report.problem(vertex.fields.pointer(), ProblemCode::WrongArity, message);
        }
        if op.starts_with("write_") && vertex.edges_out > 0 {
            let edges = match vertex.edges_out {
                1 => String::from("an edge begins"),
                count => format!("{count} edges begin"),
            };
            let message = format!("`{op}` has no outputs, and {edges} at it");
            self.report.problem(vertex.fields.pointer(), ProblemCode::WrongArity, message);
        }
        takes.contains(&has)
    }

    /// Adds a node to the plan.
    pub(super) fn push(
        &mut self,
        id: impl Into<String>,
        op: Op,
        inputs: &[&Bound],
        schema: SchemaRef,
        order: Order,
    ) -> Bound {
        let index = NodeIndex(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let inputs = inputs.iter().map(|input| input.index).collect();
        let bound =
            Bound { index, schema: Arc::clone(&schema), order: order.clone(), is_tokens: false };
        self.nodes.push(Node { id: id.into(), op, inputs, schema, order });
        bound
    }

    /// A problem for a text that is no expression here.
    pub(super) fn refuse(&mut self, pointer: impl Into<String>, refusal: ParseError) {
        let code = match refusal.kind {
            ParseErrorKind::Syntax => ProblemCode::BadExpression,
            ParseErrorKind::UnknownColumn => ProblemCode::UnknownColumn,
            ParseErrorKind::UnknownFunction => ProblemCode::UnknownFunction,
            ParseErrorKind::UnknownType => ProblemCode::UnknownType,
            ParseErrorKind::Type => ProblemCode::TypeMismatch,
            ParseErrorKind::NotSupported => ProblemCode::NotSupported,
        };
        let message = if refusal.offset == 0 {
            refusal.message
        } else {
            format!("{} (at byte {})", refusal.message, refusal.offset)
        };
        self.report.suggest(pointer, code, message, refusal.suggestion);
    }

    /// What `parse` makes of a text; where the columns are not known, only its syntax is checked.
    pub(super) fn parsed<T>(
        &mut self,
        text: &str,
        pointer: &str,
        input: Option<&Bound>,
        parse: impl FnOnce(&str, &Schema) -> Result<T, ParseError>,
    ) -> Option<T> {
        let parsed = match input {
            Some(input) => parse(text, &input.schema).map(Some),
            None => parse::syntax(text).map(|()| None),
        };
        parsed.unwrap_or_else(|refusal| {
            self.refuse(pointer, refusal);
            None
        })
    }

    /// The function that `fn` names, if `op` takes it.
    pub(super) fn form(&mut self, fields: &Fields<'_>, op: &str) -> Option<&'static str> {
        let name = fields.text("fn", self.report)?;
        let takes = || FORMS.iter().filter(|form| form.operators.contains(&op)).map(|f| f.name);
        let found = takes().find(|known| *known == name);
        if found.is_none() {
            let suggestion = parse::nearest(name, takes());
            let elsewhere = FORMS.iter().find(|form| form.name == name);
            let message = match (elsewhere, &suggestion) {
                (Some(form), _) => {
                    format!("`{name}` is no function of {op}, but of {}", form.operators.join(", "))
                }
                (None, Some(_)) => format!("no function `{name}`"),
                (None, None) => {
                    let list = takes().collect::<Vec<_>>().join(", ");
                    format!("no function `{name}`; {op} takes {list}")
                }
            };
            let code = ProblemCode::UnknownFunction;
            self.report.suggest(fields.at("fn"), code, message, suggestion);
        }
        found
    }

    /// The one field among `names` that stands; none or several are a problem.
    pub(super) fn one_of(
        &mut self,
        fields: &Fields<'_>,
        names: &[&'static str],
    ) -> Option<&'static str> {
        let mut found = names.iter().copied().filter(|name| fields.has(name));
        let (first, second) = (found.next(), found.next());
        if let (Some(first), Some(second)) = (first, second) {
            let message = format!("only one of `{first}` and `{second}` may stand");
            self.report.problem(fields.at(second), ProblemCode::ConflictingFields, message);
            return None;
        }
        if first.is_none() {
            let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            let message = format!("one of {} is missing", names.join(", "));
            self.report.problem(fields.pointer(), ProblemCode::MissingField, message);
        }
        first
    }

    /// Whether all columns have names of their own that can be names.
    pub(super) fn check_columns(&mut self, schema: &Schema, pointer: &str) -> bool {
        let mut seen = hashbrown::HashSet::new();
        let mut is_right = true;
        for field in schema.fields() {
            let name = field.name();
            if name.is_empty() || name.chars().count() > MAX_NAME_LENGTH {
                let message = format!("a column's name has 1 to {MAX_NAME_LENGTH} characters");
                self.report.problem(pointer, ProblemCode::BadValue, message);
                is_right = false;
            } else if !seen.insert(name) {
                let message = format!("two columns would be named `{name}`");
                self.report.problem(pointer, ProblemCode::DuplicateColumn, message);
                is_right = false;
            }
        }
        is_right
    }

    pub(super) fn map_form(
        &mut self,
        vertex: &Vertex<'_>,
        form: &str,
        input: &Bound,
    ) -> Option<Bound> {
        let pointer = vertex.fields.at("fn");
        let all = all_columns(&input.schema);
        let mut bound = match form {
            "to_lower" => {
                let texts = text_columns(&input.schema);
                if texts.is_empty() {
                    let message =
                        format!("`to_lower` wants a string column; {}", names(&input.schema));
                    self.report.problem(pointer, ProblemCode::TypeMismatch, message);
                    return None;
                }
                let lower = |(index, (name, column)): (usize, (String, Expr))| {
                    let is_text = texts.contains(&index);
                    (name, if is_text { call(Function::LOWER, vec![column]) } else { column })
                };
                let columns = all.into_iter().enumerate().map(lower).collect();
                self.push_map(vertex, columns, input, &pointer)?
            }
            "to_json" => {
                let json = if is_line(input) {
                    call(Function::LINE_TO_JSON, vec![parse::column(&input.schema, 0)])
                } else {
                    let name = |name| Expr::Literal(Literal::Utf8(name));
                    let members = all.into_iter().flat_map(|(n, column)| [name(n), column]);
                    call(Function::JSON_OBJECT, members.collect())
                };
                return self.push_map(vertex, vec![(String::from("json"), json)], input, &pointer);
            }
            "sleep_10s" => {
                let (schema, order) = (Arc::clone(&input.schema), input.order.clone());
                self.push(vertex.id, Op::Sleep { row_ms: 10_000 }, &[input], schema, order)
            }
            _ => self.push_map(vertex, all, input, &pointer)?,
        };
        bound.is_tokens = input.is_tokens;
        Some(bound)
    }

    /// The expressions of an object of names and texts.
    pub(super) fn expressions(
        &mut self,
        fields: &Fields<'_>,
        field: &str,
        input: Option<&Bound>,
    ) -> Option<Vec<(String, Expr)>> {
        let members = Fields::open(fields.get(field)?, &fields.at(field), self.report)?;
        if members.members().is_empty() {
            let message = "at least one column must be named";
            self.report.problem(members.pointer(), ProblemCode::BadValue, message);
            return None;
        }
        let mut columns = Vec::new();
        for (name, pointer, text) in members.named_texts(self.report) {
            let expr = text.and_then(|text| self.parsed(text, &pointer, input, parse::expression));
            columns.push(expr.map(|expr| (String::from(name), expr)));
        }
        columns.into_iter().collect()
    }

    pub(super) fn push_map(
        &mut self,
        vertex: &Vertex<'_>,
        columns: Vec<(String, Expr)>,
        input: &Bound,
        pointer: &str,
    ) -> Option<Bound> {
        let fields = columns.iter().map(|(name, expr)| Field::new(name, expr.data_type(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        if !self.check_columns(&schema, pointer) {
            return None;
        }
        let columns: Vec<_> = columns.into_iter().map(|(_, expr)| expr).collect();
        let order = order_through(&columns, &input.order);
        Some(self.push(vertex.id, Op::Map { columns }, &[input], schema, order))
    }

    fn filter(&mut self, vertex: &Vertex<'_>, input: Option<&Bound>) -> Option<Bound> {
        let fields = &vertex.fields;
        let predicate = if self.one_of(fields, &["fn", "where"])? == "fn" {
            self.form(fields, "filter")?;
            self.long_words(fields, input?)?
        } else {
            let text = fields.text("where", self.report)?;
            self.parsed(text, &fields.at("where"), input, parse::predicate)?
        };
        let input = input?;
        let (schema, order) = (Arc::clone(&input.schema), input.order.clone());
        let bound = self.push(vertex.id, Op::Filter { predicate }, &[input], schema, order);
        Some(Bound { is_tokens: input.is_tokens, ..bound })
    }

    fn long_words(&mut self, fields: &Fields<'_>, input: &Bound) -> Option<Predicate> {
        match text_columns(&input.schema)[..] {
            [column] => Some(Predicate(Expr::Binary {
                op: BinaryOp::Greater,
                left: Box::new(call(Function::LENGTH, vec![parse::column(&input.schema, column)])),
                right: Box::new(Expr::Literal(Literal::Int64(4))),
                data_type: DataType::Boolean,
            })),
            [] => {
                let message =
                    format!("`long_words` wants a string column; {}", names(&input.schema));
                self.report.problem(fields.at("fn"), ProblemCode::TypeMismatch, message);
                None
            }
            _ => {
                let message = "`long_words` tests the only string column, and there are several; \
                               say `where` with `length(column) > 4`";
                self.report.problem(fields.at("fn"), ProblemCode::AmbiguousColumn, message);
                None
            }
        }
    }

    fn flat_map(&mut self, vertex: &Vertex<'_>, input: Option<&Bound>) -> Option<Bound> {
        let fields = &vertex.fields;
        let form = if fields.required("fn", self.report).is_some() {
            self.form(fields, "flat_map")
        } else {
            None
        };
        if let Some(form @ ("explode" | "split" | "lines")) = form {
            return relational::take_apart(self, vertex, form, input);
        }
        for other in ["by", "outer"] {
            if form.is_some() && fields.has(other) {
                let message = format!("`{other}` does not apply to tokenize");
                self.report.problem(fields.at(other), ProblemCode::NotApplicable, message);
            }
        }
        let name = fields.text("as", self.report);
        let columns = fields.texts("column", self.report);
        form?;
        let input = input?;
        let columns = match columns {
            Some(columns) => columns
                .into_iter()
                .map(|(column, pointer)| self.text_column(column, &pointer, &input.schema))
                .collect::<Vec<_>>()
                .into_iter()
                .collect::<Option<Vec<_>>>()?,
            None if fields.has("column") => return None,
            None => text_columns(&input.schema),
        };
        if columns.is_empty() {
            let message = format!("`tokenize` wants a string column; {}", names(&input.schema));
            self.report.problem(fields.at("fn"), ProblemCode::TypeMismatch, message);
            return None;
        }
        let field = Field::new(name.unwrap_or("token"), DataType::Utf8View, true);
        let schema = Arc::new(Schema::new(vec![field]));
        if !self.check_columns(&schema, &fields.at("as")) {
            return None;
        }
        let order = if input.order == Order::None { Order::None } else { Order::Source };
        let bound = self.push(vertex.id, Op::Tokenize { columns }, &[input], schema, order);
        Some(Bound { is_tokens: true, ..bound })
    }

    /// The place of a text column.
    fn text_column(&mut self, name: &str, pointer: &str, schema: &Schema) -> Option<usize> {
        let Ok(column) = schema.index_of(name) else {
            let (message, suggestion) = parse::no_column(name, schema);
            self.report.suggest(pointer, ProblemCode::UnknownColumn, message, suggestion);
            return None;
        };
        let data_type = schema.field(column).data_type();
        if *data_type != DataType::Utf8View {
            let message = format!("`{name}` is {}, not string", parse::type_name(data_type));
            self.report.problem(pointer, ProblemCode::TypeMismatch, message);
            return None;
        }
        Some(column)
    }

    fn limit(&mut self, vertex: &Vertex<'_>, input: Option<&Bound>) -> Option<Bound> {
        let fields = &vertex.fields;
        let most = i64::MAX.unsigned_abs();
        fields.required("n", self.report);
        let n = fields.number("n", 0..=most, self.report);
        let offset = fields.number("offset", 0..=most, self.report);
        let offset = if fields.has("offset") { offset? } else { 0 };
        let (n, input) = (n?, input?);
        let schema = Arc::clone(&input.schema);
        let bound = if input.order == Order::None {
            let keys = ascending(&schema);
            let order = Order::Sorted(keys.clone());
            let limit = Some(offset.saturating_add(n));
            let op = Op::Sort { keys, limit };
            if offset == 0 {
                self.push(vertex.id, op, &[input], schema, order)
            } else {
                let helper = format!("{}.sorted", vertex.id);
                let sorted = self.push(helper, op, &[input], Arc::clone(&schema), order.clone());
                self.push(vertex.id, Op::Limit { offset, n }, &[&sorted], schema, order)
            }
        } else {
            self.push(vertex.id, Op::Limit { offset, n }, &[input], schema, input.order.clone())
        };
        Some(Bound { is_tokens: input.is_tokens, ..bound })
    }
}

/// A call of a function whose arguments are known to do.
pub(super) fn call(function: Function, arguments: Vec<Expr>) -> Expr {
    function.of(arguments)
}

/// Every column under its name.
pub(super) fn all_columns(schema: &Schema) -> Vec<(String, Expr)> {
    let column = |index| (schema.field(index).name().clone(), parse::column(schema, index));
    (0..schema.fields().len()).map(column).collect()
}

/// The places of the text columns.
pub(super) fn text_columns(schema: &Schema) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    let texts = fields.filter(|(_, field)| *field.data_type() == DataType::Utf8View);
    texts.map(|(index, _)| index).collect()
}

/// Whether the rows are lines of text, which are cut at their first comma.
fn is_line(input: &Bound) -> bool {
    let fields = input.schema.fields();
    fields.len() == 1 && fields[0].name() == "line" && *fields[0].data_type() == DataType::Utf8View
}

/// The columns there are, for messages.
pub(super) fn names(schema: &Schema) -> String {
    let column =
        |field: &Arc<Field>| format!("{} {}", field.name(), parse::type_name(field.data_type()));
    let columns: Vec<_> = schema.fields().iter().map(column).collect();
    format!("the input has {}", columns.join(", "))
}

/// All columns ascending, nulls last: the order of rows that have none.
pub(super) fn ascending(schema: &Schema) -> Vec<SortKey> {
    let key = |column| SortKey { column, descending: false, nulls_first: false };
    (0..schema.fields().len()).map(key).collect()
}

/// The order of rows of which `columns` are made. Where a key is lost, the rows still follow one
/// another as they did, so that their order is that of their source.
pub(super) fn order_through(columns: &[Expr], order: &Order) -> Order {
    let Order::Sorted(keys) = order else { return order.clone() };
    let moved = keys.iter().map(|key| {
        let is_key =
            |expr: &Expr| matches!(expr, Expr::Column { index, .. } if *index == key.column);
        let column = columns.iter().position(is_key)?;
        Some(SortKey { column, ..key.clone() })
    });
    moved.collect::<Option<_>>().map_or(Order::Source, Order::Sorted)
}
