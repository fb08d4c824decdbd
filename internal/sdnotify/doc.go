// Package sdnotify tells systemd how a service does: the datagrams of sd_notify(3), for a unit with Type=notify.
//
// It owns the socket's address and the order of the messages. It refuses to say anything that is not so: a service is ready
// when its own health check says it runs, and the watchdog is fed only while it goes on saying so.
//
// Invariant: without NOTIFY_SOCKET in the environment nothing is done and nothing is waited for.
package sdnotify
