-- `webhooks` grows whenever what endpoints want has changed.
alter table installation add column webhooks bigint not null default 0;

-- Where an app wants to hear of events. `enabled` is the app's wish, `paused_at` ours after a day of
-- nothing but failures. `failures`: one after the other, since `failing_since`; `held_until`: not called before, to spare
-- an endpoint that is down. `retry_from`: deliveries that are older count their days from then. `made_as`: what was asked
-- for when it was made, so that a repeat of the request is known. A deleted one stays until its deliveries are gone.
create table webhook_endpoint (
    endpoint_id     uuid primary key,
    app_id          uuid not null references app on delete cascade,
    url             text not null,
    events          text[] not null,
    description     text,
    enabled         boolean not null default true,
    reason          text,
    paused_at       timestamptz,
    failures        integer not null default 0,
    failing_since   timestamptz,
    held_until      timestamptz,
    retry_from      timestamptz not null,
    made_as         bytea not null,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    deleted_at      timestamptz
);
create index webhook_endpoint_app on webhook_endpoint (app_id);

-- What calls of an endpoint are signed with, encrypted. A replaced one signs beside the new one until `valid_until`.
create table webhook_secret (
    secret_id       uuid primary key,
    endpoint_id     uuid not null references webhook_endpoint on delete cascade,
    sealed          bytea not null,
    created_at      timestamptz not null,
    valid_until     timestamptz
);
create index webhook_secret_endpoint on webhook_secret (endpoint_id);

-- What an endpoint is to hear of one conversation, in order (docs/webhooks.md): deliveries have the places up to `head`,
-- and those up to `done` are settled. `due_at`: when the next one is tried, or when the lease of its `claim` ends.
create table webhook_lane (
    app_id          uuid not null,
    user_id         uuid not null,
    conversation_id uuid not null,
    endpoint_id     uuid not null,
    head            bigint not null,
    done            bigint not null default 0,
    due_at          timestamptz not null,
    claim           uuid,
    primary key (app_id, user_id, conversation_id, endpoint_id)
);
create index webhook_lane_due on webhook_lane (endpoint_id, due_at) where head > done;

-- One event for one endpoint. It says what event `seq` of the log says, or `payload` where it is not in the log.
-- `queued_at`: when it was first wanted, or wanted again. `event_id` is a UUIDv7, so it also tells the age.
create table webhook_delivery (
    app_id          uuid not null,
    user_id         uuid not null,
    conversation_id uuid not null,
    endpoint_id     uuid not null,
    place           bigint not null,
    event_id        uuid not null,
    type            text not null,
    seq             bigint,
    payload         json,
    state           text not null default 'pending' check (state in ('pending', 'delivered', 'dead')),
    attempts        integer not null default 0,
    queued_at       timestamptz not null,
    tried_at        timestamptz,
    status          integer,
    error           text,
    created_at      timestamptz not null,
    primary key (app_id, user_id, conversation_id, endpoint_id, place)
);
create index webhook_delivery_listed on webhook_delivery (endpoint_id, state, event_id);
