-- The id of the conversation leaves the indexes of the inbox: pages that end between two conversations of the same
-- moment are told apart by a sort of those few. Each message writes a new entry into most of these, so they are the
-- smaller the better; and with the id in them PostgreSQL 18 found conversations by skipping through the index of an
-- app instead of by their key.
drop index conversation_by_opened, conversation_by_updated, conversation_by_status, conversation_waiting,
    conversation_by_assignee;
create index conversation_by_opened on conversation (app_id, opened_at desc);
create index conversation_by_updated on conversation (app_id, updated_at desc);
create index conversation_by_status on conversation (app_id, status, updated_at desc);
create index conversation_waiting on conversation (app_id, waiting_since) where waiting_since is not null;
create index conversation_by_assignee on conversation (app_id, assignee, updated_at desc) where assignee is not null;
