package gridsim

import (
	"net/http"
	"slices"
)

// maxInbox is how many of the codes that were sent are remembered.
const maxInbox = 64

// Message is a code on its way to the customer.
type Message struct {
	CredentialID string `json:"credentialId"`
	To           string `json:"to"` // an e-mail address or a phone number
	Code         string `json:"code"`
}

// send sends a code.
func (s *Sim) send(m Message) {
	s.inbox = append(s.inbox, m)
	s.inbox = slices.Delete(s.inbox, 0, max(0, len(s.inbox)-maxInbox))
	if s.cfg.Send != nil {
		s.cfg.Send(m)
	}
}

// Inbox returns the codes that were sent last, oldest first: what a person would
// find in their mail.
func (s *Sim) Inbox() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages()
}

// messages is Inbox for callers that hold the lock. It is never nil.
func (s *Sim) messages() []Message { return append([]Message{}, s.inbox...) }

// readInbox serves GET /_sim/inbox.
func (s *Sim) readInbox(request) (reply, error) {
	return reply{http.StatusOK, map[string]any{"data": s.messages()}}, nil
}
