"""Which labels the tasks keep."""

from __future__ import annotations

BANKING10 = (
    "pending_transfer", "transfer_timing", "transfer_not_received_by_recipient",
    "balance_not_updated_after_bank_transfer", "failed_transfer", "declined_transfer", "cancel_transfer",
    "transfer_fee_charged", "transfer_into_account", "beneficiary_not_allowed",
)  # fmt: skip

# Groups whose members are asked for in much the same words: bills, lists, cards, days off, reservations.
CLINC20 = (
    "bill_balance", "bill_due", "min_payment", "pay_bill",
    "shopping_list", "shopping_list_update", "todo_list", "todo_list_update",
    "credit_limit", "credit_limit_change", "card_declined", "report_fraud",
    "pto_balance", "pto_request", "pto_request_status", "pto_used",
    "cancel_reservation", "confirm_reservation", "accept_reservations", "restaurant_reservation",
)  # fmt: skip
