"""What documents in four languages print: labels, titles, months, numbers and dates.

Alternatives stand between bars; those behind a double bar are only printed in held-out documents.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from random import Random

from demo_model import words
from demo_model.words import chance

Labels = dict[str, str]

EN: Labels = {
    "invoice": "Invoice|INVOICE|Tax invoice|TAX INVOICE|Sales invoice|Bill||Commercial invoice",
    "credit note": "Credit advice|Credit invoice|Credit note|CREDIT NOTE|Credit memo",
    "proforma": "Pro-forma invoice|Proforma|Proforma invoice|PRO FORMA",
    "reminder": "Overdue notice|Final reminder|Payment reminder|REMINDER|Second reminder",
    "receipt": "Receipt|RECEIPT|Sales receipt|Customer copy|||",
    "bank": "Account statement|BANK STATEMENT|Statement of account|Current account statement",
    "vendor": "Remit to|Company|Vendor|From|Seller|Supplier|Issued by|Sold by||Biller",
    "customer": "Ship to|Recipient|Bill-to party|Attn.|Bill to|Customer|Invoice to|Sold to"
    "|Billed to|Client|Buyer||Invoice for",
    "invoice_number": "Inv. no.|Invoice|Ref. no.|Number|Invoice reference|Invoice no."
    "|Invoice number|Invoice #|No.|Invoice ID|Document no.||Bill no.",
    "purchase_order": "Purchase order no.|Customer order|Order no.|Order number|PO number|P.O. no."
    "|Your order|Purchase order|PO #|Order ref.||Your PO",
    "date": "Dated|Date issued|Tax point|Date|Invoice date|Issued|Date of issue|Issue date"
    "||Billing date",
    "delivery_date": "Shipped|Supply date|Date delivered|Delivery|Delivery date|Date of supply"
    "|Delivered on|Service date",
    "due_date": "Payment date|Due by|To be paid by|Deadline|Due date|Due|Payment due|Pay by|Due on"
    "|Please pay by||Payable by",
    "payment_terms": "Conditions|Payment due within|Terms|Payment terms|Terms of payment||Payment",
    "terms": "Net 30|14 days net|30 days net|2% 10 days, net 30|Due on receipt|60 days net",
    "currency": "Currency|All amounts in|Amounts in",
    "tax_id": "Tax no.|VAT number|EIN|VAT reg|VAT no.|VAT ID|Tax ID|VAT reg. no.", "iban": "IBAN",
    "description": "Description|Item|Article|Product|Details||Goods",
    "quantity": "Units|Pieces|Qty|Quantity|Qty.||Count", "unit": "Unit|UoM",
    "unit_price": "Unit cost|Cost|Price/unit|Price|Unit price|Rate|Price each||Each",
    "discount_column": "Disc.|Discount", "tax_rate": "VAT|VAT %|Tax %",
    "amount": "Total price|Price|Net|Value|Amount|Total|Line total|Sum||Net amount",
    "units": "pcs|hrs|kg|box|m|set",
    "subtotal": "Sum|Amount net|Total excl. VAT|Goods total|Total before tax|Subtotal|Sub-total"
    "|Net|Net total|Net amount",
    "discount": "Trade discount|Promotion|Voucher discount|Discount|Rebate|Less discount",
    "shipping": "Shipping & handling|Carriage|Delivery charge|Shipping costs|Shipping|Postage"
    "|Freight|Delivery", "tax": "Tax amount|VAT amount|Value added tax|VAT|Tax|Sales tax|GST",
    "total": "Total incl. VAT|Total incl. tax|Amount|To pay|Gross total|Balance to pay|Total|TOTAL"
    "|Total due|Grand total|Invoice total|Total amount||Amount payable",
    "prepaid": "Amount paid|Advance payment|Less payments|Payments|Paid|Already paid|Deposit"
    "|Payment received",
    "amount_due": "Total due now|Remaining|Outstanding|Left to pay|Please pay|Amount due"
    "|Balance due|Balance|Still to pay",
    "before": "Previous balance|Balance forward|Last bill|Open items",
    "beside": "Customer no.|Order date|Delivery note|Project|Our ref.|Account no.|Ship date",
    "contact": "Phone|Fax|Contact|E-mail|Web", "thanks": "Thank you!|Thank you for your business.",
    "time": "Time|",
    "receipt_number": "Transaction|Trans. no.|Order|Receipt #|Receipt no.|Receipt|Bon no.|Check"
    "|Ticket||Slip no.", "till": "Till|Cashier|Table|Server|Store|Terminal",
    "cash": "Cash paid|CASH GIVEN|Tendered|Cash|CASH|Cash tendered",
    "card": "MASTERCARD|Credit card|DEBIT|Amex|Card payment|Maestro|Card|Visa|VISA|Mastercard"
    "|Debit card", "mobile": "Mobile pay|Apple Pay|Google Pay", "voucher": "Voucher|Gift card",
    "change": "Cash back|Change given|Change|CHANGE|Change due",
    "tip": "Service charge|Service|Tip|Gratuity", "saved": "You saved|Saved today",
    "returns": "Returns until|Exchange until", "net": "Net", "gross": "Gross", "rate": "Rate|VAT",
    "tax_column": "VAT|Tax", "holder": "Account holder|Account name|Name",
    "account_number": "Account number|Account no.", "bic": "BIC|SWIFT",
    "statement_number": "Statement no.|Statement number|Sheet no.",
    "period": "Period|Statement period|From",
    "opening": "Opening balance|Previous balance|Balance brought forward",
    "closing": "Closing balance|New balance|Ending balance", "booking": "Date|Booked",
    "valued": "Value|Value date", "text": "Description|Details|Text",
    "money_out": "Paid out|Debit|Money out|Withdrawals", "balance": "Balance",
    "money_in": "Paid in|Credit|Money in|Deposits",
    "bookings": "Card payment|Direct debit|Transfer|Standing order|Salary|Rent|Cash withdrawal"
    "|Interest", "available": "Available balance", "until": "to|-|until",
    "dear": "Dear customer,|Dear Sir or Madam,|Hello,",
    "regards": "Kind regards|Best regards|Yours sincerely", "subject": "Subject|Re|Regarding",
    "to": "To", "sender": "From", "letter": "Your request|Change of address|Our meeting|Thank you",
    "order": "Order confirmation|Purchase order|Order", "offer": "Offer|Quotation|Quote",
    "delivery note": "Delivery note|Packing slip", "notice": "Notice|Announcement",
    "certificate": "Certificate|Certificate of attendance", "ticket": "Ticket|Boarding pass",
    "identifier": "Order no.|Reference|Case no.|Customer no.|File no.|Booking code|Policy no.",
    "dated": "Valid until|Date|Delivery date|Start|End|Deadline|Appointment",
    "fee": "Fee|Total|Price|Deposit|Amount|Costs", "signed": "Signed by|Contact|Participant",
}  # fmt: skip
DE: Labels = {
    "invoice": "Rechnung|RECHNUNG|Rechnung / Invoice|Abschlagsrechnung||Schlussrechnung",
    "credit note": "Rechnungsgutschrift|Stornorechnung|Storno|Gutschrift|GUTSCHRIFT"
    "|Rechnungskorrektur", "proforma": "Proformarechnung|PROFORMA|Proforma-Rechnung",
    "reminder": "Letzte Mahnung|1. Mahnung|Mahnung|Zahlungserinnerung|2. Mahnung",
    "receipt": "Kassenbon|Quittung|BELEG|Kundenbeleg|||",
    "bank": "Kontoauszug|KONTOAUSZUG|Kontoauszug Girokonto|Finanzstatus",
    "vendor": "Rechnungssteller|Firma|Anbieter|Verkäufer|Absender|Von|Lieferant||Aussteller",
    "customer": "An|Adressat|Rechnungsadresse|Besteller|Rechnung an|Kunde|Rechnungsempfänger"
    "|Empfänger|Käufer||Auftraggeber",
    "invoice_number": "Nummer|Nr.|Rechnung|Rg.-Nr.|Rechnungs-Nummer|Belegnummer|Rechnungsnr."
    "|Rechnungsnummer|Rechnung Nr.|Rechnungs-Nr.|Beleg-Nr.||Re.-Nr.",
    "purchase_order": "Auftragsnummer|Auftrag|Ihr Auftrag|Bestellung|Bestellnummer|Ihre Bestellung"
    "|Bestell-Nr.|Ihre Bestellnr.",
    "date": "Rechnungs-Datum|Erstellt am|vom|Datum|Rechnungsdatum|Ausgestellt am|Belegdatum"
    "||Rechnung vom",
    "delivery_date": "Lieferung am|Liefertermin|Leistungszeitpunkt|Tag der Lieferung|Versanddatum"
    "|Lieferdatum|Leistungsdatum|Geliefert am",
    "due_date": "Zahlungsfrist|Fälligkeitsdatum|Zahlung bis|Fällig|Fällig am|Zahlbar bis"
    "|Fälligkeit|Zahlbar bis zum||Zu zahlen bis",
    "payment_terms": "Zahlungsbedingungen|Zahlungsziel|Zahlung",
    "terms": "30 Tage netto|14 Tage netto|sofort ohne Abzug|10 Tage 2% Skonto|Zahlbar sofort",
    "currency": "Währung|Alle Beträge in",
    "tax_id": "Steuer-Nr.|USt-ID|Umsatzsteuer-ID|USt.-IdNr.|USt-IdNr.|Steuernummer|UID|St.-Nr.",
    "iban": "IBAN", "description": "Beschreibung|Bezeichnung|Artikel|Leistung||Text",
    "quantity": "Mg.|Anz.|Menge|Anzahl||Stück", "unit": "Einheit|Einh.",
    "unit_price": "Stückpreis|Preis/Einheit|EUR/Stk|Einzelpreis|Preis|E-Preis||EP",
    "discount_column": "Rabatt", "tax_rate": "MwSt|USt %|MwSt %",
    "amount": "Gesamt EUR|Wert|Positionspreis|Betrag|Gesamt|Gesamtpreis|Summe||Netto",
    "units": "Stk|Std|kg|Pkg|m|Satz",
    "subtotal": "Summe|Warenwert|Nettosumme|Gesamt netto|Netto-Summe|Zwischensumme|Nettobetrag"
    "|Summe netto|Netto", "discount": "Abzug|Preisnachlass|Gutschein|Rabatt|Nachlass",
    "shipping": "Lieferkosten|Versand und Verpackung|Transport|Versandpauschale|Versand"
    "|Versandkosten|Fracht|Porto",
    "tax": "Umsatzsteuer|Steuer|MwSt.|USt.|Steuerbetrag|MwSt|USt|zzgl. MwSt|Mehrwertsteuer",
    "total": "Summe brutto|Gesamtsumme|Gesamt brutto|Zu bezahlen|Total|SUMME|Gesamtbetrag"
    "|Rechnungsbetrag|Gesamt|Summe|Bruttobetrag||Endbetrag",
    "prepaid": "Abzüglich Anzahlung|Bereits bezahlt|Vorauszahlung|Geleistete Zahlung|Abschlag"
    "|Anzahlung|Bereits gezahlt|Gezahlt",
    "amount_due": "Noch zu zahlen|Offener Betrag|Zahlbetrag|Rest|Verbleibender Betrag|Zu zahlen"
    "|Restbetrag|Offen", "before": "Offene Posten|Alter Saldo|Vorherige Rechnung",
    "beside": "Kundennummer|Bestelldatum|Lieferschein|Projekt|Unser Zeichen|Kunden-Nr.",
    "contact": "Telefon|Fax|Ansprechpartner|E-Mail|Web", "thanks": "Vielen Dank!|Danke.",
    "time": "Uhrzeit|Zeit|",
    "receipt_number": "Bonnummer|Belegnummer|Transaktion|Bon Nr.|Bon-Nr.|Beleg|Belegnr.|Bon"
    "||Quittung Nr.", "till": "Kasse|Bediener|Tisch|Filiale|Terminal",
    "cash": "Barzahlung|BARGELD|Bar gegeben|Geg.|Bar|BAR|Gegeben|Bargeld",
    "card": "KARTENZAHLUNG|Mastercard|MAESTRO|EC|Debitkarte|Karte|Girocard|EC-Karte|Kreditkarte"
    "|VISA", "mobile": "Apple Pay|Mobil bezahlt", "voucher": "Gutschein|Gutscheinkarte",
    "change": "Wechselgeld|RÜCKGELD|Retour|Rückgeld|Zurück", "tip": "Tip|Bedienung|Trinkgeld",
    "saved": "Sie sparen|Ersparnis", "returns": "Umtausch bis|Rückgabe bis", "net": "Netto",
    "gross": "Brutto", "rate": "Satz|MwSt", "tax_column": "MwSt|Steuer",
    "holder": "Kontoinhaber|Inhaber|Name", "account_number": "Kontonummer|Konto-Nr.", "bic": "BIC",
    "statement_number": "Auszug Nr.|Auszugsnummer|Blatt", "period": "Zeitraum|Von",
    "opening": "Alter Saldo|Anfangssaldo|Saldo alt", "closing": "Neuer Saldo|Endsaldo|Saldo neu",
    "booking": "Datum|Buchung|Buchungstag", "valued": "Wert|Valuta", "balance": "Saldo",
    "text": "Buchungstext|Vorgang|Verwendungszweck", "money_out": "Soll|Belastung|Ausgang",
    "money_in": "Haben|Eingang",
    "bookings": "Lastschrift|Überweisung|Gehalt|Dauerauftrag|Miete|Kartenzahlung|Zinsen|Auszahlung",
    "available": "Verfügbar", "until": "bis|-",
    "dear": "Sehr geehrte Damen und Herren,|Guten Tag,|Hallo,",
    "regards": "Mit freundlichen Grüßen|Freundliche Grüße|Viele Grüße", "subject": "Betreff|Betr.",
    "to": "An", "sender": "Von", "letter": "Ihre Anfrage|Neue Anschrift|Unser Gespräch|Vielen Dank",
    "order": "Auftragsbestätigung|Bestellung", "offer": "Angebot|Kostenvoranschlag",
    "delivery note": "Lieferschein", "notice": "Bescheid|Bekanntmachung|Mitteilung",
    "certificate": "Bescheinigung|Teilnahmebestätigung", "ticket": "Fahrkarte|Eintrittskarte",
    "identifier": "Auftragsnr.|Aktenzeichen|Kundennummer|Vorgang|Vertragsnr.|Buchungscode",
    "dated": "Gültig bis|Datum|Lieferdatum|Beginn|Ende|Frist|Termin",
    "fee": "Gebühr|Gesamt|Preis|Anzahlung|Betrag|Kosten", "signed": "Unterzeichnet|Teilnehmer",
}  # fmt: skip
FR: Labels = {
    "invoice": "Facture|FACTURE|Facture client||Facture de vente",
    "credit note": "Note de crédit|Facture d'avoir|Avoir|AVOIR",
    "proforma": "Pro forma|Facture proforma|PROFORMA",
    "reminder": "Mise en demeure|Deuxième rappel|Rappel|Rappel de paiement|Relance",
    "receipt": "Ticket de caisse|TICKET|Reçu|||",
    "bank": "Relevé de compte|RELEVÉ DE COMPTE|Relevé bancaire|Extrait de compte",
    "vendor": "Société|Entreprise|Prestataire|Vendeur|De|Fournisseur|Émetteur",
    "customer": "À|Adresse de facturation|Doit|Client facturé|Facturé à|Client|Destinataire"
    "|Adressé à||Acheteur",
    "invoice_number": "N°|Numéro|Facture|Facture no|N° de pièce|Facture n°|N° de facture"
    "|Numéro de facture|N° facture||Référence facture",
    "purchase_order": "Commande|Réf. commande|Commande n°|BC n°|N° de commande|Bon de commande"
    "|Votre commande",
    "date": "Le|Date facture|Établie le|Date|Date de facture|Émise le|Date d'émission||Facturée le",
    "delivery_date": "Livraison|Date de la livraison|Expédié le|Date de prestation"
    "|Date de livraison|Livré le",
    "due_date": "Payable avant le|Date limite de paiement|Date d’échéance|Règlement avant le"
    "|Échéance|Date d'échéance|À payer avant le|À régler le||Payable le",
    "payment_terms": "Conditions de paiement|Règlement",
    "terms": "30 jours net|Paiement à réception|45 jours fin de mois|Comptant|14 jours net",
    "currency": "Devise|Montants en", "tax_id": "TVA n°|SIREN|N° de TVA|N° TVA|TVA intracom.|SIRET",
    "iban": "IBAN", "description": "Description|Désignation|Article|Libellé||Prestation",
    "quantity": "Qté|Quantité", "unit": "Unité",
    "unit_price": "Prix HT|PU|Prix unitaire|Prix|P.U.||PU HT", "discount_column": "Remise",
    "tax_rate": "TVA|TVA %", "amount": "Somme|Prix total|Valeur|Montant|Total|Total HT||Montant HT",
    "units": "pcs|h|kg|boîte|m|lot",
    "subtotal": "Total net|Montant net|Net HT|Somme|Sous-total|Total HT|Montant HT",
    "discount": "Réduction|Escompte|Remise|Rabais",
    "shipping": "Frais de livraison|Transport|Expédition|Port et emballage|Livraison|Frais de port"
    "|Port", "tax": "Taxe|Taxes|Montant de TVA|TVA|Total TVA|Montant TVA",
    "total": "TOTAL TTC|Montant total|Total à payer|À payer TTC|Total|Total TTC|Montant TTC"
    "|Net à payer|TOTAL||Total général",
    "prepaid": "Versement|Avance|Montant versé|Déjà versé|Arrhes|Acompte|Déjà payé|Acompte versé",
    "amount_due": "À payer|Solde|Restant dû|Montant dû|Solde à payer|Reste à payer|Solde dû"
    "|Reste dû", "before": "Solde précédent|Ancien solde",
    "beside": "N° client|Date de commande|Bon de livraison|Projet|Notre réf.|Code client",
    "contact": "Tél.|Fax|Contact|E-mail|Web", "thanks": "Merci !|Merci de votre confiance.",
    "time": "Heure|",
    "receipt_number": "Transaction|N° reçu|Ticket no|Facturette|Ticket n°|N° ticket|Reçu n°|Ticket",
    "till": "Caisse|Caissier|Table|Magasin|Terminal",
    "cash": "Liquide|Reçu espèces|Payé espèces|Espèces|ESPECES",
    "card": "CARTE|Carte bleue|Mastercard|CB sans contact|Carte bancaire|CB|Carte|VISA",
    "mobile": "Apple Pay|Paiement mobile", "voucher": "Bon d'achat|Carte cadeau",
    "change": "Monnaie|Rendu espèces|Rendu|Rendu monnaie|À rendre", "tip": "Pourboire",
    "saved": "Vous économisez|Économies", "returns": "Retour avant le", "net": "HT", "gross": "TTC",
    "rate": "Taux|TVA", "tax_column": "TVA", "holder": "Titulaire|Nom",
    "account_number": "Compte n°|Numéro de compte|N° de compte", "bic": "BIC",
    "statement_number": "Relevé n°|Extrait n°", "period": "Période|Du",
    "opening": "Ancien solde|Solde précédent|Solde initial", "closing": "Nouveau solde|Solde final",
    "booking": "Date|Opération", "valued": "Valeur|Date valeur", "balance": "Solde",
    "text": "Libellé|Opérations|Nature", "money_out": "Débit|Débits", "money_in": "Crédit|Crédits",
    "bookings": "Virement|Prélèvement|Salaire|Loyer|Paiement carte|Retrait|Intérêts|Chèque",
    "available": "Disponible", "until": "au|-", "dear": "Madame, Monsieur,|Bonjour,",
    "regards": "Cordialement|Bien à vous|Salutations distinguées", "subject": "Objet|Concerne",
    "to": "À", "sender": "De", "letter": "Votre demande|Changement d'adresse|Notre rendez-vous",
    "order": "Confirmation de commande|Commande", "offer": "Devis|Offre",
    "delivery note": "Bon de livraison", "notice": "Avis|Communiqué",
    "certificate": "Attestation|Certificat", "ticket": "Billet|Billet d'entrée",
    "identifier": "N° de commande|Référence|Dossier n°|N° client|Contrat n°|Réservation",
    "dated": "Valable jusqu'au|Date|Livraison le|Début|Fin|Date limite|Rendez-vous",
    "fee": "Frais|Total|Prix|Acompte|Montant|Coût", "signed": "Signé par|Participant",
}  # fmt: skip
ES: Labels = {
    "invoice": "Factura|FACTURA|Factura de venta||Factura comercial",
    "credit note": "Abono|Factura de abono|Nota de crédito|NOTA DE CRÉDITO|Factura rectificativa",
    "proforma": "Pro forma|Factura proforma|PROFORMA",
    "reminder": "Segundo aviso|Aviso de pago|Recordatorio de pago|RECORDATORIO",
    "receipt": "Recibo|Ticket|TICKET|||",
    "bank": "Extracto de cuenta|EXTRACTO|Extracto bancario|Movimientos de cuenta",
    "vendor": "Empresa|Expedidor|Razón social|Vendedor|De|Proveedor|Emisor",
    "customer": "Para|Datos del cliente|Señor(es)|Receptor|Facturar a|Cliente|Destinatario"
    "|Facturado a||Comprador",
    "invoice_number": "N.º|Número|Factura|Núm. factura|Factura nº|Factura n.º|N.º de factura"
    "|Número de factura|Factura núm.||N.º factura",
    "purchase_order": "Pedido|Pedido n.º|Ref. pedido|N.º pedido|N.º de pedido|Su pedido"
    "|Orden de compra",
    "date": "Fecha emisión|Expedida el|A fecha|Fecha|Fecha de factura|Emitida el|Fecha de emisión"
    "||Fecha factura",
    "delivery_date": "Entrega|Fecha entrega|Enviado el|Fecha de envío|Fecha de entrega"
    "|Entregado el",
    "due_date": "Pago antes del|Vto.|Fecha vencimiento|Plazo de pago|Vencimiento"
    "|Fecha de vencimiento|Vence el|Pagar antes del||Fecha límite",
    "payment_terms": "Condiciones de pago|Forma de pago",
    "terms": "30 días neto|Pago al contado|60 días fecha factura|Al recibir|15 días neto",
    "currency": "Moneda|Importes en", "tax_id": "C.I.F.|N.I.F.|RFC|NIF|CIF|N.º IVA", "iban": "IBAN",
    "description": "Descripción|Concepto|Artículo|Producto||Detalle", "quantity": "Cant.|Cantidad",
    "unit": "Unidad|Ud.", "unit_price": "P.U.|Precio/ud.|Precio|Precio unitario|P. unit.",
    "discount_column": "Dto.", "tax_rate": "IVA|IVA %",
    "amount": "Total neto|Suma|Valor|Importe|Total|Total línea||Importe neto",
    "units": "uds|h|kg|caja|m|juego",
    "subtotal": "Suma|Total neto|Importe neto total|Base|Subtotal|Base imponible|Neto",
    "discount": "Dto. comercial|Bonificación|Descuento|Rebaja",
    "shipping": "Transporte|Gastos envío|Flete|Coste de envío|Envío|Gastos de envío|Portes",
    "tax": "Impuestos|Impuesto|Importe IVA|IVA|Cuota IVA|Total IVA",
    "total": "TOTAL A PAGAR|Total general|Total con IVA|Importe|Total|TOTAL|Total a pagar"
    "|Importe total||Total factura",
    "prepaid": "A cuenta|Pago recibido|Señal|Importe pagado|Anticipado|Anticipo|Ya pagado|Pagado",
    "amount_due": "Restante|Saldo pendiente|Resta|Importe pendiente|Saldo|Pendiente|Por pagar",
    "before": "Saldo anterior|Factura anterior",
    "beside": "N.º de cliente|Fecha de pedido|Albarán|Proyecto|Nuestra ref.|Código cliente",
    "contact": "Tel.|Fax|Contacto|Correo|Web", "thanks": "¡Gracias!|Gracias por su compra.",
    "time": "Hora|",
    "receipt_number": "Transacción|N.º recibo|Operación|Nº|Ticket n.º|N.º ticket|Recibo n.º|Ticket",
    "till": "Caja|Cajero|Mesa|Tienda|Terminal",
    "cash": "Metálico|Contado|Importe entregado|Efectivo|EFECTIVO|Entregado",
    "card": "Mastercard|TARJETA CREDITO|Débito|Pago con tarjeta|Tarjeta|TARJETA|VISA"
    "|Tarjeta crédito", "mobile": "Pago móvil|Apple Pay", "voucher": "Vale|Tarjeta regalo",
    "change": "Devolución|A devolver|Vuelta|Cambio|Su cambio", "tip": "Propina",
    "saved": "Usted ahorra|Ahorro", "returns": "Devolución hasta|Cambios hasta", "net": "Base",
    "gross": "Total", "rate": "Tipo|IVA", "tax_column": "Cuota|IVA", "holder": "Titular|Nombre",
    "account_number": "Cuenta n.º|Número de cuenta", "bic": "BIC",
    "statement_number": "Extracto n.º|N.º de extracto", "period": "Periodo|Desde",
    "opening": "Saldo anterior|Saldo inicial", "closing": "Saldo final|Nuevo saldo|Saldo actual",
    "booking": "Fecha|F. operación", "valued": "Valor|F. valor", "balance": "Saldo",
    "text": "Concepto|Movimiento", "money_out": "Cargos|Debe|Cargo", "money_in": "Abonos|Haber",
    "bookings": "Transferencia|Domiciliación|Nómina|Alquiler|Pago tarjeta|Reintegro|Intereses",
    "available": "Disponible", "until": "al|-|hasta", "dear": "Estimado cliente:|Buenos días:",
    "regards": "Atentamente|Un saludo|Saludos cordiales", "subject": "Asunto|Ref.", "to": "Para",
    "sender": "De", "letter": "Su solicitud|Cambio de dirección|Nuestra reunión",
    "order": "Confirmación de pedido|Pedido", "offer": "Presupuesto|Oferta",
    "delivery note": "Albarán|Nota de entrega", "notice": "Aviso|Comunicado",
    "certificate": "Certificado|Constancia", "ticket": "Entrada|Billete",
    "identifier": "N.º de pedido|Referencia|Expediente|N.º de cliente|Contrato n.º|Reserva",
    "dated": "Válido hasta|Fecha|Entrega el|Inicio|Fin|Plazo|Cita",
    "fee": "Tasa|Total|Precio|Depósito|Importe|Coste", "signed": "Firmado por|Participante",
}  # fmt: skip
TABLES: dict[str, Labels] = {"en": EN, "de": DE, "fr": FR, "es": ES}
MONTHS = {
    "en": words.MONTHS,
    "de": words.listed("Januar Februar März April Mai Juni Juli August September Oktober November"
                       " Dezember"),
    "fr": words.listed("janvier février mars avril mai juin juillet août septembre octobre novembre"
                       " décembre"),
    "es": words.listed("enero febrero marzo abril mayo junio julio agosto septiembre octubre"
                       " noviembre diciembre"),
}  # fmt: skip
COMMON = {
    "en": words.listed(
        "the of and to in for with on by as at this that is are was be or from we our your you it "
        "all any not has have will may shall please order goods delivery payment terms account "
        "service work customer price date time days within after before until under law"),
    "de": words.listed(
        "der die das und in zu den mit von auf für ist im dem nicht ein eine als auch wir Sie Ihr "
        "Ihre unser bitte bei nach vor bis unter innerhalb Tagen Zahlung Lieferung Ware Konto "
        "Vertrag Preis Kunde wird werden haben können alle ohne Recht"),
    "fr": words.listed(
        "le la les de des du et à en un une pour avec sur par nous vous votre notre est sont sera "
        "dans au aux ce cette pas plus avant après sous jours paiement livraison compte client prix"
        " contrat commande merci toute tout droit"),
    "es": words.listed(
        "el la los las de del y a en un una para con por sobre su sus nuestro usted es son será no "
        "más antes después bajo días pago entrega cuenta cliente precio contrato pedido gracias "
        "todo toda ley este esta"),
}  # fmt: skip
SIGNS = {"en": "$ £ € USD GBP EUR", "de": "€ EUR CHF", "fr": "€ EUR CHF", "es": "€ EUR MXN $"}
LINE, HELD_OUT = "|", "||"
LONGEST_LABEL = 26


@dataclass
class Locale:
    """How one document prints its words, dates and amounts. ``sign`` stands beside amounts where
    ``beside`` says so: "before", "behind", "" (nowhere)."""

    language: str
    held_out: bool
    date_style: int
    decimal: str
    group: str
    sign: str
    beside: str
    colon: str = ":"
    upper: bool = False
    used: dict[str, str] = field(default_factory=dict)

    def label(self, rng: Random, key: str) -> str:
        """One of the names of ``key``; the same in the whole document."""
        if key not in self.used:
            shown, _, kept = TABLES[self.language][key].partition(HELD_OUT)
            choices = shown.split(LINE) + ([kept] * 2 if self.held_out and kept else [])
            self.used[key] = self._spelled(rng, key, rng.choice(choices))
        return self.used[key]

    def _spelled(self, rng: Random, key: str, label: str) -> str:
        """A label as some print it: in capitals, without its dots, or with that of another
        language, so that no one spelling is all that is learned."""
        if not label or self.held_out or chance(rng, 0.75):
            return label
        other = TABLES[rng.choice(("en", "de", "fr", "es"))][key].partition(HELD_OUT)[0]
        beside = rng.choice(other.split(LINE))
        both = f"{label} / {beside}" if beside not in ("", label) else label
        short = label.replace(".", "").strip() or label
        return rng.choice((label.upper(), short, both if len(both) < LONGEST_LABEL else label))

    def any(self, rng: Random, key: str) -> str:
        """One of several, each time anew."""
        return rng.choice(TABLES[self.language][key].partition(HELD_OUT)[0].split(LINE))

    def number(self, value: float, places: int = 2) -> str:
        """A number as printed, without a currency."""
        text = f"{value:,.{places}f}"
        return text.translate({ord(","): self.group, ord("."): self.decimal})

    def money(self, value: float) -> str:
        """An amount with the currency where this document prints it by amounts."""
        text = self.number(value)
        if not self.beside:
            return text
        gap = "" if len(self.sign) == 1 and self.beside == "before" else " "
        return f"{self.sign}{gap}{text}" if self.beside == "before" else f"{text}{gap}{self.sign}"

    def date(self, rng: Random) -> str:
        """A random date."""
        return self.day(random_day(rng))

    def day(self, when: datetime.date) -> str:
        """A date as printed."""
        year, month, day = when.year, when.month, when.day
        name = MONTHS[self.language][month - 1]
        styles: tuple[str, ...]
        if self.language == "en":
            styles = (
                f"{year}-{month:02d}-{day:02d}", f"{day:02d}/{month:02d}/{year}",
                f"{day} {name} {year}", f"{name} {day}, {year}", f"{day:02d}-{name[:3]}-{year}",
                f"{name[:3]} {day}, {year}", f"{month:02d}/{day:02d}/{year}",
            )  # fmt: skip
        elif self.language == "de":
            styles = (f"{day:02d}.{month:02d}.{year}", f"{day}. {name} {year}",
                      f"{day:02d}.{month:02d}.{year % 100:02d}", f"{year}-{month:02d}-{day:02d}",
                      f"{day}.{month}.{year}")  # fmt: skip
        elif self.language == "fr":
            styles = (
                f"{day:02d}/{month:02d}/{year}",
                f"{day} {name} {year}",
                f"{day:02d}.{month:02d}.{year}",
                f"{day:02d}/{month:02d}/{year % 100:02d}",
            )
        else:
            styles = (f"{day:02d}/{month:02d}/{year}", f"{day} de {name} de {year}",
                      f"{day:02d}-{month:02d}-{year}", f"{day}/{month}/{year}")  # fmt: skip
        return styles[self.date_style % len(styles)]


def random_day(rng: Random) -> datetime.date:
    """Any day of some decades."""
    return datetime.date(rng.randint(1998, 2034), rng.randint(1, 12), rng.randint(1, 28))


def random_locale(rng: Random, *, held_out: bool = False) -> Locale:
    """The habits of one document."""
    language = rng.choices(("en", "de", "fr", "es"), (40, 24, 18, 18))[0]
    decimal, group = {"en": (".", ","), "de": (",", "."), "fr": (",", " "), "es": (",", ".")}[
        language
    ]
    return Locale(
        language, held_out, rng.randrange(28), decimal, group if chance(rng, 0.6) else "",
        rng.choice(SIGNS[language].split()),
        rng.choice(("before", "before", "behind", "")) if language == "en"
        else rng.choice(("behind", "behind", "before", "")),
        colon=rng.choice((":", ":", "", " :")),
    )  # fmt: skip
