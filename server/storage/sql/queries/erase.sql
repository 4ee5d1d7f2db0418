-- Forgetting a user: each table that holds something of one.

-- name: erase_events
-- scope: user
delete from event where app_id = $1 and user_id = $2;

-- name: erase_conversations
-- scope: user
delete from conversation where app_id = $1 and user_id = $2;

-- name: erase_directory
-- scope: directory
delete from conversation_directory where conversation_id = any ($1::uuid[]);

-- name: erase_snapshots
-- scope: user
delete from context_snapshot where app_id = $1 and user_id = $2;

-- name: erase_transactions
-- scope: user
delete from user_transaction where app_id = $1 and user_id = $2;

-- name: erase_ratings
-- scope: user
delete from rating where app_id = $1 and user_id = $2;

-- name: erase_push_states
-- scope: user
delete from push_state where app_id = $1 and user_id = $2;

-- name: erase_devices
-- scope: user
delete from device where app_id = $1 and user_id = $2 returning device_id;

-- name: erase_device_directory
-- scope: directory
delete from device_directory where app_id = $1 and device_id = any ($2::uuid[]) and user_id = $3;

-- name: erase_user
-- scope: user
delete from end_user where app_id = $1 and user_id = $2;

-- name: list_conversation_ids
-- scope: user
select conversation_id from conversation where app_id = $1 and user_id = $2;

-- name: erase_webhook_deliveries
-- scope: user
delete from webhook_delivery where app_id = $1 and user_id = $2;

-- name: erase_webhook_lanes
-- scope: user
delete from webhook_lane where app_id = $1 and user_id = $2;

-- name: erase_actions
-- scope: user
delete from action where app_id = $1 and user_id = $2;
